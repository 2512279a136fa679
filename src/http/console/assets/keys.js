// Keyboard shortcuts: see the dialog of the layout.

const dialog = document.getElementById("keys");
const help = document.getElementById("help");
const SEQUENCE_MS = 1500;
let prefixAt = -Infinity;

function isTyping(target) {
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) && !/^(checkbox|radio)$/.test(target.type);
}

const rows = () => [...document.querySelectorAll("[data-rows] > tr")];
const current = () => document.querySelector("[data-rows] > tr[data-current]");

function move(step) {
  const all = rows();
  if (all.length === 0) return;
  const at = all.indexOf(current());
  const next = all[Math.min(Math.max(at + step, 0), all.length - 1)];
  current()?.removeAttribute("data-current");
  next.setAttribute("data-current", "");
  const target = next.querySelector("a") ?? next.querySelector("input, button");
  target?.focus();
  next.scrollIntoView({ block: "nearest" });
}

function press(key) {
  if (key === "?") {
    dialog.showModal();
  } else if (key === "/") {
    const field = document.querySelector("[data-search]");
    field?.focus();
    field?.select?.();
  } else if (key === "j") {
    move(1);
  } else if (key === "k") {
    move(-1);
  } else if (key === "x") {
    current()?.querySelector("input[type=checkbox]")?.click();
  } else if (key === "X") {
    document.querySelector("[data-select-all]")?.click();
  } else if (key === "a") {
    document.querySelector("[data-action]")?.focus();
  } else {
    return false;
  }
  return true;
}

function go(key) {
  document.querySelector(`nav a[data-key="${CSS.escape(key)}"]`)?.click();
}

// The map of a year is one stop of the Tab key; the arrow keys move by a day or a week.
for (const map of document.querySelectorAll(".heat-map")) {
  const days = [...map.querySelectorAll("a")];
  const stop = (day) => {
    for (const other of days) other.setAttribute("tabindex", other === day ? "0" : "-1");
  };
  stop(map.querySelector("a:has(.today)") ?? days[0]);
  map.addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -7, ArrowRight: 7 }[event.key];
    const next = days[days.indexOf(document.activeElement) + step];
    if (next === undefined) return;
    event.preventDefault();
    stop(next);
    next.focus();
  });
}

if (dialog !== null) {
  help.hidden = false;
  help.addEventListener("click", () => dialog.showModal());
  document.addEventListener("focusin", (event) => {
    const row = event.target.closest("[data-rows] > tr");
    if (row === null || row === current()) return;
    current()?.removeAttribute("data-current");
    row.setAttribute("data-current", "");
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.key === "Escape" && isTyping(event.target)) {
      event.target.blur();
      return;
    }
    if (isTyping(event.target) || document.querySelector("dialog[open]") !== null) return;
    if (performance.now() - prefixAt < SEQUENCE_MS) {
      prefixAt = -Infinity;
      go(event.key);
      event.preventDefault();
      return;
    }
    if (event.key === "g") {
      prefixAt = performance.now();
    } else if (press(event.key)) {
      event.preventDefault();
    }
  });
}
