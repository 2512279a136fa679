// The inbox's page. It follows /events and lists what arrived, newest first.
// Every value is put in as text, never as markup. A burst costs one repaint a frame, and the rows are capped.
"use strict";

const KEPT = 1000;     // arrivals held here, as many as one message of the stream can bring
const PAGEFUL = 100;   // rows shown at first, and added by "Show more"
const SPOKEN_MS = 5000; // how often a screen reader hears the totals, at most

const byId = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");

let arrivals = [];     // newest first
let waiting = [];      // arrived since the last repaint, newest first
let latest = null;     // the last message of the stream: totals and how many the server keeps
let limit = PAGEFUL;
let needle = "";
let paused = false;
let repaint = false;   // the table has to be built anew
let scheduled = false;
let spokenAt = 0;

// ---- the stream

function follow() {
  const stream = new EventSource("events");
  let first = true;
  stream.onopen = () => connection("live", "live");
  stream.onmessage = (event) => {
    const message = JSON.parse(event.data);
    // A new stream starts from the beginning; one that resumed brings only what is missing.
    if (message.reset || first) empty();
    first = false;
    latest = message;
    waiting = message.arrivals.reverse().concat(waiting).slice(0, KEPT);
    schedule();
  };
  stream.onerror = () => {
    connection("lost", "not connected, trying again");
    // The browser resumes by itself after a broken connection, and gives up after an answer that is no stream.
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, 2000);
  };
}

function empty() {
  arrivals = [];
  waiting = [];
  limit = PAGEFUL;
  repaint = true;
}

function connection(state, text) {
  byId("connection").dataset.state = state;
  byId("connection-text").textContent = text;
}

// ---- painting

function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(paint);
}

function paint() {
  scheduled = false;
  if (latest) totals(latest.totals);
  byId("pause").textContent = paused ? `Resume${waiting.length ? ` (${number.format(waiting.length)} new)` : ""}` : "Pause";
  if (paused && !repaint) return;
  const fresh = paused ? [] : waiting;
  if (!paused) {
    arrivals = waiting.concat(arrivals).slice(0, Math.min(KEPT, latest ? latest.keep : KEPT));
    waiting = [];
  }
  const matching = arrivals.filter(matches);
  const rows = byId("rows");
  if (repaint) {
    rows.replaceChildren(...matching.slice(0, limit).map((arrival) => row(arrival, false)));
    repaint = false;
  } else {
    rows.prepend(...fresh.filter(matches).slice(0, limit).map((arrival) => row(arrival, true)));
    while (rows.childElementCount > Math.min(limit, matching.length)) rows.lastElementChild.remove();
  }
  surroundings(matching.length, rows.childElementCount);
}

function totals(totals) {
  const lateness = totals.latenessMs;
  byId("received").textContent = number.format(totals.received);
  byId("events").textContent = number.format(totals.events);
  byId("p50").textContent = lateness ? duration(lateness.p50) : "–";
  byId("p99").textContent = lateness ? duration(lateness.p99) : "–";
  for (const [id, count, kind] of [["duplicates", totals.duplicates, "bad"], ["failed", totals.failed, "warn"]]) {
    byId(id).textContent = number.format(count);
    byId(id).parentElement.classList.toggle(kind, count > 0);
  }
  const oddities = [
    [totals.unreadable, "unreadable"],
    [totals.early, "before the due instant"],
    [totals.unanswered, "given up by the sender before the answer"],
  ].filter(([count]) => count > 0).map(([count, what]) => `${number.format(count)} ${what}`);
  byId("oddities").textContent = oddities.join(" · ");
  byId("oddities").hidden = oddities.length === 0;
  document.title = totals.received ? `${number.format(totals.received)} · bday inbox` : "bday inbox";
  if (performance.now() - spokenAt > SPOKEN_MS) {
    spokenAt = performance.now();
    byId("spoken").textContent = `${totals.received} received, ${totals.duplicates} duplicates, ${totals.failed} failures`;
  }
}

function surroundings(matching, shown) {
  const received = latest ? latest.totals.received : 0;
  byId("shown").textContent = received === 0 ? ""
    : needle ? `${number.format(matching)} of the last ${number.format(arrivals.length)} match`
    : `${number.format(shown)} shown of ${number.format(received)}`;
  byId("more").hidden = shown >= matching;
  byId("table").hidden = shown === 0;
  byId("empty").hidden = shown > 0;
  byId("empty-text").textContent = arrivals.length > 0
    ? "None of the arrivals kept matches the filter."
    : "Nothing has arrived yet. Send webhooks to any path of this address, or try:";
  byId("example").hidden = arrivals.length > 0;
}

// ---- one arrival

function row(arrival, fresh) {
  const tr = document.createElement("tr");
  tr.role = "row"; // said outright, since on a narrow screen the style makes a card of it
  tr.classList.toggle("fresh", fresh);
  tr.append(
    cell("Arrived", "time", instant(arrival.arrivedAt)),
    cell("Due", "time", arrival.timestamp ? instant(arrival.timestamp, arrival.arrivedAt) : faint("–")),
    cell("Lateness", "number", lateness(arrival.latenessMs)),
    cell("Message", "message", ...message(arrival)),
    cell("Attempt", "number", arrival.attempt > 1 ? tag("warn", arrival.attempt) : String(arrival.attempt)),
    cell("Answered", "status", ...answered(arrival)),
  );
  return tr;
}

function message(arrival) {
  const lines = [];
  if (arrival.unreadable === undefined) {
    lines.push(element("bdi", "text", arrival.message));
  } else {
    lines.push(element("span", "reason", `Unreadable: ${arrival.unreadable}`));
    if (arrival.body) lines.push(element("code", "body", arrival.body));
  }
  const event = arrival.eventId || arrival.webhookId;
  if (event) lines.push(element("code", "event", event));
  return lines;
}

function answered(arrival) {
  const status = arrival.status;
  const tags = [status === null ? tag("warn", "hung up") : tag(status >= 200 && status < 300 ? "good" : "bad", status)];
  if (arrival.duplicate) tags.push(" ", tag("bad", "duplicate"));
  if (arrival.sample) tags.push(" ", tag("plain", "sample"));
  return tags;
}

function lateness(ms) {
  if (ms === undefined || ms === null) return faint("–");
  if (ms < 0) return element("span", "early", `${duration(-ms)} early`);
  return element("span", ms >= 60_000 ? "late" : "", duration(ms));
}

// The date is left out where it is the same as the one beside it: what is late by a day then stands out.
function instant(text, beside = "") {
  const [date, time] = text.replace("Z", "").split("T");
  const shown = element("time", "", time);
  shown.dateTime = text;
  shown.title = `${text} · ${new Date(text).toLocaleString()} where you are`;
  if (!beside.startsWith(date)) shown.prepend(element("small", "", date), " ");
  return shown;
}

function matches(arrival) {
  if (!needle) return true;
  arrival.text ??= [
    arrival.message, arrival.userId, arrival.eventId, arrival.webhookId, arrival.timestamp, arrival.path, arrival.body,
    arrival.status ?? "hung up", arrival.duplicate ? "duplicate" : "",
    arrival.sample ? "sample" : "", arrival.unreadable ? `unreadable ${arrival.unreadable}` : "",
  ].join("\n").toLowerCase();
  return arrival.text.includes(needle);
}

function duration(ms) {
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(2)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.floor(ms / 1000) % 60} s`;
  return `${number.format(Math.floor(minutes / 60))} h ${minutes % 60} min`;
}

// ---- making elements: text only

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function cell(label, className, ...content) {
  const td = element("td", className, "");
  td.role = "cell";
  td.dataset.label = label;
  td.append(...content);
  return td;
}

const tag = (kind, text) => element("span", `tag ${kind}`, text);
const faint = (text) => element("span", "faint", text);

// ---- what the visitor does

byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  schedule();
});

byId("clear").addEventListener("click", () => fetch("arrivals", { method: "DELETE" }));

byId("filter").addEventListener("input", (event) => {
  needle = event.target.value.trim().toLowerCase();
  limit = PAGEFUL;
  repaint = true;
  schedule();
});

byId("more").addEventListener("click", () => {
  limit += PAGEFUL;
  repaint = true;
  schedule();
});

byId("example").textContent = `curl ${location.origin}/ -H 'webhook-id: e-1' -d '${JSON.stringify({
  message: "Hey, John Doe it's your birthday",
  userId: "u-1",
  eventId: "e-1",
  timestamp: new Date(Date.now()).toISOString().replace(/\.\d+/, ""),
})}'`.replace("it's", "it'\\''s");

follow();
