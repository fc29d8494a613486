// The inbox, live: leads come as server-sent events, and what others do with them. The stream's ids name places in the
// bank's log, so a browser that lost its connection goes on exactly behind what it has; what it has, it ignores.
import { ask, say, swap, tell } from "/static/base.js";

const inbox = document.getElementById("inbox");
const list = document.getElementById("leads");
const detail = document.getElementById("detail");
const words = inbox.dataset;
const GONE_MS = 3000;
const RETRY_MS = 3000;
let since = words.since;
let source = null;
let opening = 0;
let wanted = "";

const rowOf = (id) => list.querySelector(`[data-lead="${CSS.escape(id)}"]`);
const rows = () => [...list.querySelectorAll("[data-lead]:not([data-gone])")];
const rankOf = (row) => row.dataset.rank.split(" ").map(Number);

function before(one, other) {
  if (words.sort === "time") return Number(one.dataset.at) > Number(other.dataset.at);
  const [a, b] = [rankOf(one), rankOf(other)];
  for (let i = 0; i < a.length; i += 1) if (a[i] !== b[i]) return a[i] < b[i];
  return false;
}

function count() {
  const open = rows().length;
  document.getElementById("lead-count").textContent = open;
  document.getElementById("leads-none").hidden = open > 0;
}

function add(lead) {
  if (!lead.html || rowOf(lead.outbound_id)) return;
  const template = document.createElement("template");
  template.innerHTML = lead.html.trim();
  const row = template.content.firstElementChild;
  const next = rows().find((other) => before(row, other));
  list.insertBefore(row, next || null);
  row.classList.add("fresh");
  say(`${words.new}: ${lead.title}`);
  count();
}

function leave(id, why) {
  const row = rowOf(id);
  if (!row || row.dataset.gone) return;
  row.dataset.gone = why;
  row.querySelector("[data-mark]").textContent = words[`gone${why[0].toUpperCase()}${why.slice(1)}`];
  row.querySelector("button").disabled = true;
  depart(id, why);
  setTimeout(() => { row.remove(); }, GONE_MS);
  count();
}

// Says in the open lead that there is nothing left to do; what is just being answered says so itself.
function depart(id, why) {
  const open = detail.querySelector(`[data-detail="${CSS.escape(id)}"]:not([data-closed])`);
  if (!open || detail.getAttribute("aria-busy") === "true") return;
  document.querySelector("dialog[open]")?.close();
  for (const button of open.querySelectorAll(".lead-acts button")) button.disabled = true;
  const note = document.createElement("p");
  note.className = "notice warn";
  note.textContent = words[`gone${why[0].toUpperCase()}${why.slice(1)}`];
  open.prepend(note);
  say(note.textContent);
}

function stand(id, how) {
  const row = rowOf(id);
  if (!row) return;
  const mark = row.querySelector("[data-mark]");
  const before = mark.textContent.trim();
  mark.replaceChildren();
  if (how.by) {
    const tag = document.createElement("span");
    tag.className = how.mine ? "tag good" : "tag";
    tag.textContent = how.mine ? words.yours : how.by;
    mark.append(tag);
  }
  const result = row.querySelector("[data-result]");
  const changed = before !== mark.textContent.trim() || result.hidden === how.results > 0;
  result.hidden = !how.results;
  const open = detail.querySelector(`[data-detail="${CSS.escape(id)}"]`);
  if (changed && open && !document.querySelector("dialog[open]")) show(id);
}

function standing(document_) {
  for (const [id, how] of Object.entries(document_.leads)) stand(id, how);
  if (document_.whole) {
    for (const row of rows()) if (!(row.dataset.lead in document_.leads)) leave(row.dataset.lead, "closed");
  }
  for (const [id, why] of Object.entries(document_.gone)) leave(id, why);
}

function live(state) {
  document.getElementById("live").dataset.state = state;
}

function follow() {
  source = new EventSource(`/inbox/stream?show=${words.show}&since=${encodeURIComponent(since)}`);
  const on = (name, act) => source.addEventListener(name, (event) => {
    if (event.lastEventId) since = event.lastEventId;
    act(JSON.parse(event.data));
  });
  source.onopen = () => live("live");
  source.onerror = () => {
    live("lost");
    if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    setTimeout(follow, RETRY_MS);
  };
  on("offered", add);
  on("cancelled", (what) => leave(what.outbound_id, "cancelled"));
  on("expired", (what) => leave(what.outbound_id, "expired"));
  on("standing", standing);
  on("gap", () => { document.getElementById("gap").hidden = false; });
}

async function show(id) {
  const mine = (opening += 1);
  wanted = id;
  for (const row of rows()) row.querySelector("button").removeAttribute("aria-current");
  const row = rowOf(id);
  if (row) {
    row.classList.remove("fresh");
    row.querySelector("button").setAttribute("aria-current", "true");
    row.scrollIntoView({ block: "nearest" });
  }
  try {
    const html = await ask(`/inbox/leads/${encodeURIComponent(id)}`);
    if (mine === opening) swap(detail, html);
  } catch (error) {
    if (mine === opening && error.status === 404) detail.replaceChildren(nothing(words.goneCancelled));
    else tell(error);
  }
}

function nothing(text) {
  const note = document.createElement("p");
  note.className = "card quiet";
  note.textContent = text;
  return note;
}

function step(by) {
  const open = rows();
  if (!open.length) return;
  const at = open.findIndex((row) => row.dataset.lead === wanted);
  const next = open[Math.min(Math.max(at + by, 0), open.length - 1)];
  next.querySelector("button").focus();
  show(next.dataset.lead);
}

list.addEventListener("click", (event) => {
  const row = event.target.closest("[data-lead]");
  if (row) show(row.dataset.lead);
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.target.matches("input:not([type=radio]), textarea, select") || document.querySelector("dialog[open]")) return;
  if (event.key === "j" || event.key === "ArrowDown") step(1);
  else if (event.key === "k" || event.key === "ArrowUp") step(-1);
  else return;
  event.preventDefault();
});

// After an act the closed lead leaves the list, and what it earned is looked up anew.
detail.addEventListener("kairos:swapped", () => {
  const closed = detail.querySelector("[data-closed]");
  if (closed) leave(closed.dataset.detail, "closed");
});
detail.addEventListener("kairos:refused", () => { if (wanted) show(wanted); });

window.addEventListener("pagehide", () => source?.close());
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
follow();
if (words.selected) show(words.selected);
