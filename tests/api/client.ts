// Uses the generated types, so that `tsc` checks them.
import type { components, paths } from "./api.js";

type Created = paths["/v1/users"]["post"]["responses"]["201"]["content"]["application/json"];
const input: components["schemas"]["UserInput"] = {
  firstName: "Ada",
  birthDate: "1815-12-10",
  timeZone: "Europe/London",
};
export const idOf = (user: Created): string => user.id;
export const body: paths["/v1/users"]["post"]["requestBody"]["content"]["application/json"] = input;
