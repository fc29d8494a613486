// The agent's desktop: one key an answer, the next offer in its place, and no answer lost while the bus is away.

import { Refused, ask, notice, run, say, swap, tell } from "/static/base.js";

const desk = document.getElementById("agent");
const offers = document.getElementById("offers");
const pending = document.getElementById("pending");
const words = desk.dataset;
const QUEUE = `kairos.unsent.${words.person}`;
const RETRY_MS = 2000;
let current = null;

// Which offer is spoken of

function cards() {
  return [...offers.querySelectorAll("article.offer")];
}

function choose(card) {
  if (current && current !== card) current.classList.remove("current");
  current = card;
  card?.classList.add("current");
}

offers.addEventListener("focusin", (event) => {
  const card = event.target.closest("article.offer");
  if (card) choose(card);
});
offers.addEventListener("click", (event) => {
  const card = event.target.closest("article.offer");
  if (card) choose(card);
});

// What stood on the screen counts as shown, once, however often it is sent.

const shown = new Set();
function markShown() {
  const fresh = cards().map((card) => card.dataset.tracking).filter((tracking) => !shown.has(tracking));
  if (!fresh.length) return;
  for (const tracking of fresh) shown.add(tracking);
  const fields = new URLSearchParams(fresh.map((tracking) => ["tracking_id", tracking]));
  ask("/agent/shown", { fields }).catch(() => {
    for (const tracking of fresh) shown.delete(tracking);
    setTimeout(markShown, RETRY_MS);
  });
}
function settle() {
  if (!current?.isConnected) choose(cards()[0] || null);
  if (!document.hidden) markShown();
}
offers.addEventListener("kairos:swapped", () => requestAnimationFrame(settle));
document.addEventListener("visibilitychange", () => { if (!document.hidden) markShown(); });

// Answers

function fieldsFor(card, outcome, reason) {
  const fields = new URLSearchParams({
    customer_id: words.customer,
    channel: words.channel,
    tracking_id: card.dataset.tracking,
    title: card.dataset.title,
    slot: card.dataset.slot,
    outcome,
    reason,
  });
  for (const other of cards()) if (other !== card) fields.append("kept", other.dataset.offer);
  return fields;
}

async function answer(card, outcome, reason = "") {
  if (outcome === "accept" && card?.classList.contains("gone")) return;
  if (!card?.isConnected || card.classList.contains("sending") || card.classList.contains("unsent")) return;
  const fields = fieldsFor(card, outcome, reason);
  const held = card.contains(document.activeElement) || document.activeElement === document.body;
  card.classList.add("sending");
  for (const button of card.querySelectorAll("button")) button.disabled = true;
  try {
    place(card, await ask("/agent/answers", { fields }), held);
  } catch (error) {
    if (error instanceof Refused && error.status !== 503 && error.status !== 429) {
      card.classList.remove("sending");
      for (const button of card.querySelectorAll("button")) button.disabled = false;
      tell(error);
      return;
    }
    card.classList.replace("sending", "unsent");
    keep(fields);
    notice(words.notRecorded, "warn");
    say(words.notRecorded);
  }
}

function place(card, html, held) {
  const slot = card.closest(".slot") || card;
  const put = swap(slot, html, true);
  const next = put.querySelector(".offer");
  if (held && next) next.focus({ preventScroll: true });
  if (next?.matches("article")) choose(next);
  withdraw(JSON.parse(put.dataset.gone || "[]"));
  run(document.getElementById("contacts"));
}

// What the customer may not have any more after this answer stays in sight, but cannot be offered.

function withdraw(gone) {
  for (const { offer, why } of gone) {
    const card = cards().find((one) => one.dataset.offer === offer);
    if (!card || card.classList.contains("gone")) continue;
    card.classList.add("gone");
    for (const button of card.querySelectorAll("[data-answer=accept]")) button.disabled = true;
    const note = document.createElement("p");
    note.className = "notice bad";
    note.textContent = `${words.gone} ${why}`;
    card.querySelector("header").after(note);
    say(`${card.dataset.title}: ${note.textContent}`);
  }
}

// What could not be recorded is kept in this browser and sent again with the same response id until it is.

function queue() {
  try { return JSON.parse(localStorage.getItem(QUEUE)) || []; } catch { return []; }
}

function keep(fields) {
  const tracking = fields.get("tracking_id");
  const others = queue().filter((text) => new URLSearchParams(text).get("tracking_id") !== tracking);
  localStorage.setItem(QUEUE, JSON.stringify([...others, fields.toString()]));
  showPending();
  setTimeout(resend, RETRY_MS);
}

function showPending() {
  const waiting = queue().length;
  pending.hidden = !waiting;
  pending.textContent = waiting ? words.waiting.replace("#", String(waiting)) : "";
}

let resending = false;
async function resend() {
  if (resending) return;
  resending = true;
  try {
    for (const text of queue()) {
      const fields = new URLSearchParams(text);
      const card = cards().find((one) => one.dataset.tracking === fields.get("tracking_id"));
      try {
        const html = await ask("/agent/answers", { fields });
        if (card) place(card, html, card.contains(document.activeElement));
        notice(`${words.recordedLate} ${fields.get("title")}`, "good");
      } catch (error) {
        if (!(error instanceof Refused) || error.status === 503 || error.status === 429) return;
        notice(`${words.lost} ${fields.get("title")}: ${error.message}`);
        card?.classList.remove("unsent");
      }
      localStorage.setItem(QUEUE, JSON.stringify(queue().filter((other) => other !== text)));
      showPending();
    }
  } finally {
    resending = false;
    showPending();
    if (queue().length) setTimeout(resend, RETRY_MS);
  }
}

// Buttons, the dialogs and the keys

const rejecting = document.getElementById("reject");
function askWhyNot(card) {
  if (!card?.isConnected) return;
  choose(card);
  document.getElementById("reject-offer").textContent = card.dataset.title;
  rejecting.showModal();
}

function act(card, outcome) {
  if (!card?.isConnected) { say(words.chooseOffer); return; }
  if (outcome === "reject") askWhyNot(card); else answer(card, outcome);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-answer]");
  if (button) act(button.closest("article.offer"), button.dataset.answer);
  const reason = event.target.closest("[data-reason]");
  if (reason) { rejecting.close(); answer(current, "reject", reason.dataset.reason); }
  const why = event.target.closest("[data-why]");
  if (why) {
    const body = document.getElementById("why-body");
    body.textContent = "";
    document.getElementById("why").showModal();
    try { swap(body, await ask(why.dataset.why)); } catch (error) { tell(error); }
  }
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
  if (document.querySelector("dialog[open]") || event.target.matches("input:not([type=hidden]), textarea, select")) return;
  const outcome = { a: "accept", r: "reject", l: "later" }[event.key.toLowerCase()];
  if (!outcome) return;
  event.preventDefault();
  act(current, outcome);
});

settle();
const announced = offers.querySelector("[data-announce]");
if (announced) say(announced.dataset.announce);
if (queue().length) { showPending(); resend(); }
