// Refreshes the regions marked `data-live` from the server's page. A region stays as it is while it has the focus, a selection, or an
// open dialog.

const label = document.getElementById("live-label");
const choice = document.getElementById("live");
const connection = document.getElementById("connection");
const TIMEOUT_MS = 10_000;
const STORED = "bday.live-seconds";

const policy = globalThis.trustedTypes?.createPolicy("bday", { createHTML: (text) => text });
const parse = (text) => new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, "text/html");
const regions = (root) => [...root.querySelectorAll("[data-live]")];

function isInUse(region) {
  const selection = getSelection();
  const selected = selection && !selection.isCollapsed && selection.containsNode(region, true);
  return region.contains(document.activeElement) || selected || region.querySelector("dialog[open]") !== null
    || region.querySelector("input:checked") !== null;
}

/** Keeps the details open that the user has opened. */
function swap(region, fresh) {
  const open = [...region.querySelectorAll("details[open][id]")].map((details) => details.id);
  region.replaceChildren(...document.importNode(fresh, true).childNodes);
  for (const id of open) {
    document.getElementById(id)?.setAttribute("open", "");
  }
}

function report(text) {
  connection.textContent = text;
  connection.hidden = text === "";
}

const last = new Map(regions(document).map((region) => [region.id, region.innerHTML]));

async function refresh() {
  let response;
  try {
    response = await fetch(location.href, {
      headers: { "Bday-Live": "1", Accept: "text/html" },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    report("bday does not answer. This page is not up to date; retrying.");
    return;
  }
  if (response.status === 503) {
    report("The database does not answer. This page is not up to date; retrying.");
    return;
  }
  if (new URL(response.url).pathname !== location.pathname) {
    report("The session has ended: reload the page to sign in again.");
    return;
  }
  if (!response.ok) {
    return;
  }
  const page = parse(await response.text());
  report("");
  for (const region of regions(document)) {
    const fresh = page.getElementById(region.id);
    if (fresh === null || isInUse(region) || last.get(region.id) === fresh.innerHTML) continue;
    last.set(region.id, fresh.innerHTML);
    swap(region, fresh);
  }
  document.documentElement.dataset.refreshed = String(Number(document.documentElement.dataset.refreshed ?? 0) + 1);
}

let timer;
let busy = false;

async function tick() {
  if (!busy && !document.hidden && document.querySelector("dialog[open]") === null) {
    busy = true;
    await refresh().finally(() => { busy = false; });
  }
  schedule();
}

function schedule() {
  clearTimeout(timer);
  const seconds = Number(choice.value);
  if (seconds > 0) timer = setTimeout(tick, seconds * 1000);
}

if (choice !== null && regions(document).length > 0) {
  label.hidden = false;
  const stored = localStorage.getItem(STORED);
  if ([...choice.options].some((option) => option.value === stored)) choice.value = stored;
  choice.addEventListener("change", () => {
    localStorage.setItem(STORED, choice.value);
    schedule();
  });
  document.addEventListener("visibilitychange", () => {
    // A page whose refresh is off stays as it is.
    if (!document.hidden && Number(choice.value) > 0) tick();
  });
  schedule();
}
