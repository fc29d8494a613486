// The rule editor's completion (a combobox over a text area), and further forms that are shown when asked for.
import { ask, fieldsOf, tell } from "/static/base.js";

const PAUSE = 120;
const open = new WeakMap();

function listOf(field) { return document.getElementById(field.getAttribute("aria-controls")); }

function close(field) {
  const list = listOf(field);
  list.hidden = true;
  list.replaceChildren();
  field.setAttribute("aria-expanded", "false");
  field.removeAttribute("aria-activedescendant");
  open.delete(field);
}

function choose(field, number) {
  const state = open.get(field);
  if (!state) return;
  state.at = (number + state.rows.length) % state.rows.length;
  [...listOf(field).children].forEach((item, n) => {
    item.setAttribute("aria-selected", String(n === state.at));
    if (n === state.at) { item.scrollIntoView({ block: "nearest" }); field.setAttribute("aria-activedescendant", item.id); }
  });
}

function show(field, rows) {
  const list = listOf(field);
  if (!rows.length || document.activeElement !== field) { close(field); return; }
  list.replaceChildren(...rows.map((row, number) => {
    const item = document.createElement("li");
    item.id = `${list.id}-${number}`;
    item.setAttribute("role", "option");
    const name = document.createElement("code");
    name.textContent = row.insert;
    const group = document.createElement("span");
    group.className = "group";
    group.textContent = [row.group, row.type].filter(Boolean).join(" · ");
    item.append(name, group);
    if (row.said || row.values.length) {
      const what = document.createElement("span");
      what.className = "what";
      what.textContent = [row.said, row.values.join(", ")].filter(Boolean).join(" — ");
      item.append(what);
    }
    item.addEventListener("mousedown", (event) => { event.preventDefault(); choose(field, number); take(field); });
    return item;
  }));
  list.hidden = false;
  field.setAttribute("aria-expanded", "true");
  open.set(field, { rows, at: 0 });
  choose(field, 0);
}

function take(field) {
  const state = open.get(field);
  const row = state?.rows[state.at];
  close(field);
  if (!row) return;
  field.setRangeText(row.insert, row.start, field.selectionStart, "end");
  const place = row.start + row.insert.length - row.back;
  field.setSelectionRange(place, place);
  field.dispatchEvent(new InputEvent("input", { bubbles: true, inputType: "insertReplacementText" }));
}

const waiting = new WeakMap();
async function complete(field, asked) {
  const before = field.value.slice(0, field.selectionStart);
  if (!asked && !/(?:[A-Za-z_\u4e00-\u9fff][\w.\u4e00-\u9fff]*|"[^"]*)$/.test(before)) { close(field); return; }
  const url = field.closest(".rule-editor").dataset.complete;
  const query = fieldsOf(field);
  query.set("_text", field.value);
  query.set("_at", field.selectionStart);
  const turn = (waiting.get(field) || 0) + 1;
  waiting.set(field, turn);
  try {
    const rows = JSON.parse(await ask(`${url}&${query}`));
    if (waiting.get(field) === turn) show(field, rows);
  } catch (error) { tell(error, true); }
}

const pauses = new WeakMap();
document.addEventListener("input", (event) => {
  const field = event.target;
  if (!field.matches(".rule-editor textarea")) return;
  clearTimeout(pauses.get(field));
  if (event.inputType === "insertReplacementText") return;
  pauses.set(field, setTimeout(() => complete(field, false), PAUSE));
});

document.addEventListener("keydown", (event) => {
  const field = event.target;
  if (!field.matches?.(".rule-editor textarea")) return;
  const state = open.get(field);
  if (event.key === " " && event.ctrlKey) { event.preventDefault(); complete(field, true); return; }
  if (!state) return;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); choose(field, state.at + (event.key === "ArrowDown" ? 1 : -1)); }
  else if (event.key === "Enter") { event.preventDefault(); take(field); }
  else if (event.key === "Tab") { close(field); }
  else if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); close(field); }
}, true);

document.addEventListener("focusout", (event) => {
  if (event.target.matches?.(".rule-editor textarea")) close(event.target);
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-show-more]");
  if (!button) return;
  const next = document.querySelector(`${button.dataset.showMore}[hidden]`);
  if (!next) return;
  next.hidden = false;
  next.querySelector("select, input, textarea")?.focus();
  if (!document.querySelector(`${button.dataset.showMore}[hidden]`)) button.hidden = true;
});

// A row of a list inside an entry is taken away by emptying it: what says nothing is no row.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-empty-row]");
  if (!button) return;
  const row = button.closest(".one-row");
  for (const field of row.querySelectorAll("input, textarea, select")) field.value = "";
  row.hidden = true;
  row.parentElement.querySelector("button[data-show-more]")?.focus();
});

// What an answer says about the rest of the page: <template data-replaces="#id"> takes the place of that element.
document.addEventListener("kairos:swapped", (event) => {
  for (const part of event.target.querySelectorAll("template[data-replaces]")) {
    document.querySelector(part.dataset.replaces)?.replaceWith(part.content.cloneNode(true));
    part.remove();
  }
});
