// What every screen does in the browser: fragments that are fetched into place, keys, dialogs, notices.
//
//   data-get="/url" | data-post="/url"   fetch it: a form at its submit, a field at its change, anything else at a click
//   data-target="#id"                    where the answer goes (default: the element itself)
//   data-swap="outer"                    the answer takes the place of the target, not of what is in it
//   data-load                            fetch at once;  data-every="10": and again after so many seconds
//   data-on="input" data-delay="300"     a field is fetched for while it is typed into, after a pause
//   data-quiet                           a failure is not told
//   data-key="a"                         the key does what a click does, while nobody types
//   data-open="#dialog", data-close      shows a dialog; closes the one it stands in
// In an answer: [data-announce="…"] is read out, [data-focus] takes the focus if the target had it.

const FRAGMENT = { "x-kairos-fragment": "1", accept: "text/html" };
const newest = new WeakMap();
let away = false;

export function say(text) {
  const place = document.getElementById("said");
  place.textContent = "";
  requestAnimationFrame(() => { place.textContent = text; });
}

export function notice(text, kind = "bad") {
  const places = document.getElementById("notices");
  for (const old of [...places.children]) if (old.textContent === text || places.children.length > 2) old.remove();
  const note = document.createElement("p");
  note.className = `notice ${kind}`;
  note.textContent = text;
  places.append(note);
  setTimeout(() => note.remove(), kind === "bad" ? 12000 : 5000);
}

export class Refused extends Error {
  constructor(status, problem) {
    super([problem.title, problem.detail].filter(Boolean).join(" "));
    this.status = status;
    this.problem = problem;
  }
}

// The answer's text. Throws Refused for a problem document, TypeError when the service is away.
export async function ask(url, { fields = null, signal } = {}) {
  const options = { headers: { ...FRAGMENT }, credentials: "same-origin", signal };
  if (fields !== null) {
    options.method = "POST";
    options.body = fields instanceof URLSearchParams ? fields : new URLSearchParams(fields);
  }
  const response = await fetch(url, options);
  if (away) { away = false; notice(document.body.dataset.back, "good"); }
  if (response.status === 401) {
    location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  const go = response.headers.get("x-kairos-go");
  if (go !== null) { location.assign(go); return ""; }
  const text = await response.text();
  if (response.ok) return text;
  let problem = {};
  try { problem = JSON.parse(text); } catch { /* a proxy's own words are of no use here */ }
  throw new Refused(response.status, { title: document.body.dataset.failed, ...problem });
}

export function fieldsOf(element) {
  const form = element.matches("form") ? element : element.closest("form");
  const fields = new URLSearchParams(form ? new FormData(form) : undefined);
  if (element.name && (!form || element.matches("button"))) fields.set(element.name, element.value);
  return fields;
}

export function swap(target, html, outer = false) {
  const held = target.contains(document.activeElement) ? document.activeElement : null;
  const heldId = held && held.id;
  let place = target;
  if (outer) {
    const template = document.createElement("template");
    template.innerHTML = html.trim();
    place = template.content.firstElementChild || target;
    target.replaceWith(template.content);
  } else {
    target.innerHTML = html;
  }
  if (held) {
    const next = (heldId && document.getElementById(heldId)) || place.querySelector("[data-focus]") || place;
    if (next === place && !place.hasAttribute("tabindex")) place.setAttribute("tabindex", "-1");
    next.focus({ preventScroll: true });
  }
  const announced = place.matches("[data-announce]") ? place : place.querySelector("[data-announce]");
  if (announced) say(announced.dataset.announce);
  arm(place);
  place.dispatchEvent(new CustomEvent("kairos:swapped", { bubbles: true }));
  return place;
}

// Fetches what the element says into its target. Answers whether that went well.
export async function run(element) {
  const { get, post } = element.dataset;
  const target = element.dataset.target ? document.querySelector(element.dataset.target) : element;
  if (!target) return false;
  newest.get(target)?.abort();
  const control = new AbortController();
  newest.set(target, control);
  target.setAttribute("aria-busy", "true");
  try {
    let url = post || get;
    const fields = fieldsOf(element);
    if (!post && fields.size) url += (url.includes("?") ? "&" : "?") + fields;
    const html = await ask(url, { fields: post ? fields : null, signal: control.signal });
    if (newest.get(target) !== control) return false;
    swap(target, html, element.dataset.swap === "outer");
    return true;
  } catch (error) {
    if (error.name === "AbortError") return false;
    tell(error, "quiet" in element.dataset);
    element.dispatchEvent(new CustomEvent("kairos:refused", { bubbles: true, detail: error }));
    return false;
  } finally {
    if (newest.get(target) === control) target.removeAttribute("aria-busy");
  }
}

export function tell(error, quiet = false) {
  if (!(error instanceof Refused)) {
    if (!away) notice(document.body.dataset.away);
    away = true;
  } else if (!quiet) {
    notice(error.message);
  }
}

function arm(root) {
  const found = [...root.querySelectorAll("[data-load], [data-every]")];
  if (root.matches?.("[data-load], [data-every]")) found.unshift(root);
  for (const element of found) {
    if (element.dataset.armed) continue;
    element.dataset.armed = "1";
    if ("load" in element.dataset) run(element);
    if (element.dataset.every) again(element);
  }
}

function again(element) {
  setTimeout(async () => {
    if (!element.isConnected) return;
    if (!document.hidden && !element.querySelector("details[open]")) await run(element);
    again(element);
  }, 1000 * Number(element.dataset.every));
}

function typing(target) {
  return target.isContentEditable || /^(TEXTAREA|SELECT)$/.test(target.tagName)
    || (target.tagName === "INPUT" && !/^(button|submit|checkbox|radio|range)$/.test(target.type));
}

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-open]");
  if (opener) document.querySelector(opener.dataset.open)?.showModal();
  const closer = event.target.closest("[data-close]");
  if (closer) closer.closest("dialog")?.close();
  const element = event.target.closest("[data-get], [data-post]");
  if (!element || element.matches("form, input, select, textarea") || "load" in element.dataset) return;
  if (event.ctrlKey || event.metaKey || event.shiftKey || element.disabled) return;
  event.preventDefault();
  run(element);
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-get], form[data-post]");
  if (!form) return;
  event.preventDefault();
  run(form);
});

document.addEventListener("change", (event) => {
  if (event.target.matches("input[data-get], input[data-post], select[data-get], select[data-post]")
    && event.target.dataset.on !== "input") run(event.target);
});

const pauses = new WeakMap();
document.addEventListener("input", (event) => {
  const field = event.target;
  if (!field.matches("[data-on=input]")) return;
  clearTimeout(pauses.get(field));
  pauses.set(field, setTimeout(() => run(field), Number(field.dataset.delay || 250)));
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.isComposing) return;
  if (event.key !== "Escape" && typing(event.target)) return;
  const dialog = document.querySelector("dialog[open]");
  const scope = dialog || document;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  for (const element of scope.querySelectorAll(`[data-key="${CSS.escape(key)}"]`)) {
    if (element.disabled || !element.getClientRects().length) continue;
    event.preventDefault();
    element.focus();
    if (!element.matches("input:not([type=radio]):not([type=checkbox]), textarea, select")) element.click();
    else element.select?.();
    return;
  }
});

// Tabs: <div role="tablist"> with <button role="tab" aria-controls="id">.
document.addEventListener("click", (event) => {
  const tab = event.target.closest("[role=tab]");
  if (tab) choose(tab);
});
document.addEventListener("keydown", (event) => {
  const tab = event.target.closest?.("[role=tab]");
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!tab || !step) return;
  const tabs = [...tab.closest("[role=tablist]").querySelectorAll("[role=tab]")];
  const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
  next.focus();
  choose(next);
});
function choose(tab) {
  for (const other of tab.closest("[role=tablist]").querySelectorAll("[role=tab]")) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    const panel = document.getElementById(other.getAttribute("aria-controls"));
    if (panel) panel.hidden = !chosen;
  }
}

arm(document.body);
