// The inbox's page: reads /events and lists the received requests, newest first.
// Inserts every value as text, never as markup. Repaints once a frame, and limits the number of rows.
"use strict";

const MAX_KEPT = 1000; // as many as one message of the stream can hold
const PAGE_SIZE = 100; // rows shown at first, and added by "Show more"
const ANNOUNCE_MS = 5000; // minimum interval between announcements for screen readers

const byId = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const CHANNELS = { webhook: "webhook", mail: "mail", slack: "Slack", sms: "SMS", whatsapp: "WhatsApp" };

let arrivals = [];     // newest first
let pending = [];      // received since the last repaint, newest first
let latest = null;     // the last message of the stream
let limit = PAGE_SIZE;
let needle = "";
let channel = "";      // empty: all
let paused = false;
let repaint = false;   // whether all rows must be rebuilt
let scheduled = false;
let announcedAt = -ANNOUNCE_MS;
let announcing = false;

// ---- the stream

function follow() {
  const stream = new EventSource("events");
  let first = true;
  stream.onopen = () => connection("live", "live");
  stream.onmessage = (event) => {
    const message = JSON.parse(event.data);
    // A new stream sends all kept requests; one that resumed sends only new ones.
    if (message.reset || first) empty();
    first = false;
    latest = message;
    pending = message.arrivals.reverse().concat(pending).slice(0, MAX_KEPT);
    schedule();
  };
  stream.onerror = () => {
    connection("lost", "disconnected, retrying");
    // The browser reconnects after a broken connection, but not after an error response.
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, 2000);
  };
}

function empty() {
  arrivals = [];
  pending = [];
  limit = PAGE_SIZE;
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
  byId("pause").textContent = paused ? `Resume${pending.length ? ` (${number.format(pending.length)} new)` : ""}` : "Pause";
  if (paused && !repaint) return;
  const fresh = paused ? [] : pending;
  if (!paused) {
    arrivals = pending.concat(arrivals).slice(0, Math.min(MAX_KEPT, latest ? latest.keep : MAX_KEPT));
    pending = [];
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
    [totals.unanswered, "closed by the sender"],
  ].filter(([count]) => count > 0).map(([count, what]) => `${number.format(count)} ${what}`);
  byId("oddities").textContent = oddities.join(" · ");
  byId("oddities").hidden = oddities.length === 0;
  document.title = totals.received ? `${number.format(totals.received)} · bday inbox` : "bday inbox";
  announce();
}

// Announces the totals of that moment, so that the last change is never left out.
function announce() {
  if (announcing) return;
  announcing = true;
  setTimeout(() => {
    announcing = false;
    announcedAt = performance.now();
    const { received, duplicates, failed } = latest.totals;
    byId("announcement").textContent =
      [`${received} received`, count(duplicates, "duplicate"), count(failed, "failure")].join(", ");
  }, Math.max(0, announcedAt + ANNOUNCE_MS - performance.now()));
}

function surroundings(matching, shown) {
  const received = latest ? latest.totals.received : 0;
  byId("shown").textContent = received === 0 ? ""
    : needle || channel ? `${number.format(matching)} of the last ${number.format(arrivals.length)} match`
    : `${number.format(shown)} shown of ${number.format(received)}`;
  byId("more").hidden = shown >= matching;
  byId("table").hidden = shown === 0;
  byId("empty").hidden = shown > 0;
  byId("empty-text").textContent = arrivals.length > 0
    ? "No kept request matches the filter."
    : "No requests yet. Send webhooks to any path of this address, mails to its SMTP address, or try:";
  byId("example").hidden = arrivals.length > 0;
}

// ---- one request

function row(arrival, fresh) {
  const tr = document.createElement("tr");
  tr.role = "row"; // explicit, since the style changes its display on narrow screens
  tr.classList.toggle("fresh", fresh);
  tr.append(
    cell("Arrived", "time", instant(arrival.arrivedAt)),
    cell("Channel", "channel", tag(arrival.channel, CHANNELS[arrival.channel] ?? arrival.channel)),
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
    if (arrival.to) lines.push(envelope(arrival));
    if (arrival.subject) lines.push(element("bdi", "subject", arrival.subject));
    if (arrival.message) lines.push(element("bdi", "text", arrival.message));
    if (arrival.hasHtml) lines.push(htmlLink(arrival.id));
  } else {
    lines.push(element("span", "reason", `Unreadable: ${arrival.unreadable}`));
    if (arrival.body) lines.push(element("code", "body", arrival.body));
  }
  const event = arrival.eventId || arrival.webhookId || arrival.messageId;
  if (event) lines.push(element("code", "event", event));
  return lines;
}

function envelope(arrival) {
  const line = element("span", "envelope", "");
  if (arrival.from) line.append(element("bdi", "", arrival.from), " ");
  line.append("→ ", element("bdi", "", arrival.to.join(", ") || "a Slack channel"));
  return line;
}

// The HTML is not inserted here: its own page runs no script and loads nothing.
function htmlLink(id) {
  const link = element("a", "html", "HTML version");
  link.href = `arrivals/${id}/html`;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return link;
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

// Omits the date if it equals the date of `beside`.
function instant(text, beside = "") {
  const [date, time] = text.replace("Z", "").split("T");
  const shown = element("time", "", time);
  shown.dateTime = text;
  shown.title = `${text} · ${new Date(text).toLocaleString()} local time`;
  if (!beside.startsWith(date)) shown.prepend(element("small", "", date), " ");
  return shown;
}

function matches(arrival) {
  if (channel && arrival.channel !== channel) return false;
  if (!needle) return true;
  arrival.text ??= [
    arrival.message, arrival.subject, arrival.from, ...(arrival.to ?? []), arrival.messageId, arrival.userId, arrival.eventId, arrival.webhookId, arrival.timestamp, arrival.path, arrival.body,
    arrival.status ?? "hung up", arrival.duplicate ? "duplicate" : "",
    arrival.sample ? "sample" : "", arrival.unreadable ? `unreadable ${arrival.unreadable}` : "",
  ].join("\n").toLowerCase();
  return arrival.text.includes(needle);
}

const count = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

function duration(ms) {
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(2)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.floor(ms / 1000) % 60} s`;
  return `${number.format(Math.floor(minutes / 60))} h ${minutes % 60} min`;
}

// ---- elements

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

// ---- controls

byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  schedule();
});

byId("clear").addEventListener("click", () => fetch("arrivals", { method: "DELETE" }));

byId("filter").addEventListener("input", (event) => {
  needle = event.target.value.trim().toLowerCase();
  limit = PAGE_SIZE;
  repaint = true;
  schedule();
});

byId("channel").addEventListener("change", (event) => {
  channel = event.target.value;
  limit = PAGE_SIZE;
  repaint = true;
  schedule();
});

byId("more").addEventListener("click", () => {
  limit += PAGE_SIZE;
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
