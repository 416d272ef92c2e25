// Keeps a page up to date while somebody looks: the server says what kinds of things changed, and the parts of the page
// that show them (`data-live`) are read again. Without this script pages are complete, and are reloaded by hand.

import { locale } from "./locale.js";

const PAUSE_MS = 400;
const AGAIN_MS = 2_000;
const LONGEST_MS = 60_000;
let wait = AGAIN_MS;
let timer = null;
let reading = false;
let pressed = false;
const changed = new Set();
// What was under way may have ended between the page and now; later: what happened while nobody listened is not known.
let lost = document.querySelector("[data-live] progress, [data-live] .state.wait") !== null;

/** Times in the reader's own zone. */
function localTimes(root) {
  const [format, exact] = ["short", "medium"].map((timeStyle) => new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle }));
  for (const it of root.querySelectorAll("time[datetime]")) {
    const time = new Date(it.dateTime);
    if (!Number.isNaN(time.getTime())) {
      it.title = it.textContent;
      it.textContent = (it.hasAttribute("data-seconds") ? exact : format).format(time);
    }
  }
}

function affected(part) {
  return changed.has("all") || part.dataset.live.split(" ").some((kind) => changed.has(kind));
}

async function refresh() {
  timer = null;
  // What is being clicked must not be taken away from under the pointer.
  if (reading || pressed || document.hidden) return schedule();
  const parts = [...document.querySelectorAll("[data-live]")].filter(affected);
  const told = [...changed];
  changed.clear();
  if (parts.length === 0) return;
  reading = true;
  let away = true;
  try {
    const answer = await fetch(window.location.href, { headers: { accept: "text/html", "x-tango-live": "yes" } });
    // Signed out: what is on the screen stays; the next click asks to sign in.
    away = answer.status >= 500;
    if (answer.redirected && new URL(answer.url).pathname === "/login") return;
    if (answer.status === 404) return await gone();
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of parts) {
      const fresh = page.getElementById(part.id);
      if (fresh) renew(part, fresh);
    }
  } catch {
    // Away, as a server is that is just starting.
  } finally {
    reading = false;
    if (away) {
      for (const kind of told) changed.add(kind);
      schedule(AGAIN_MS);
    }
  }
}

/** What the page is about is there no more: nothing that is done here can succeed. */
async function gone() {
  if (document.getElementById("gone")) return;
  const { t } = await import("./texts.js");
  const note = document.createElement("p");
  note.id = "gone";
  note.className = "note bad";
  note.setAttribute("role", "alert");
  note.textContent = t("What this page is about was deleted by somebody else meanwhile. It shows how it was.");
  document.getElementById("content").prepend(note);
}

/** Replaces a part that has changed; focus, what is open, typed or ticked, and scrolling stay where they are. */
function renew(old, fresh) {
  localTimes(fresh);
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  // What is being typed is not taken away.
  if (focused?.matches("input:not([type=checkbox]), textarea, select")) return;
  for (const it of old.querySelectorAll("details[id]")) fresh.querySelector(`#${CSS.escape(it.id)}`)?.toggleAttribute("open", it.open);
  for (const it of old.querySelectorAll("input[type=checkbox][name]")) {
    const same = [...fresh.querySelectorAll("input[type=checkbox]")].find((that) => that.name === it.name && that.value === it.value);
    if (same) same.checked = it.checked;
  }
  if (old.isEqualNode(fresh)) return;
  const scrolled = [...old.querySelectorAll(".scroll")].map((it) => [it.scrollLeft, it.scrollTop]);
  const place = focused ? pathOf(old, focused) : null;
  old.replaceWith(fresh);
  for (const [index, it] of [...fresh.querySelectorAll(".scroll")].entries()) {
    if (scrolled[index]) [it.scrollLeft, it.scrollTop] = scrolled[index];
  }
  reachable(fresh);
  if (place) find(fresh, place)?.focus({ preventScroll: true });
}

/** How to find what had the focus again: by its address, its label or its words. */
function pathOf(root, it) {
  const words = it.getAttribute("href") ?? it.getAttribute("aria-label") ?? it.textContent;
  return { tag: it.tagName, words };
}

function find(root, { tag, words }) {
  return [...root.querySelectorAll(tag)].find((it) => (it.getAttribute("href") ?? it.getAttribute("aria-label") ?? it.textContent) === words);
}

/** What scrolls can be scrolled with keys; what does not is no stop on the way. */
function reachable(root) {
  for (const it of root.querySelectorAll(".scroll")) {
    if (it.scrollWidth > it.clientWidth || it.scrollHeight > it.clientHeight) it.tabIndex = 0;
    else it.removeAttribute("tabindex");
  }
}

function schedule(pause = PAUSE_MS) {
  if (timer === null) timer = window.setTimeout(refresh, pause);
}

function listen() {
  const events = new EventSource("/changes");
  events.addEventListener("open", () => {
    wait = AGAIN_MS;
    if (lost) changed.add("all");
    if (lost) schedule();
    lost = false;
  });
  events.addEventListener("changed", (event) => {
    for (const kind of event.data.split(" ")) changed.add(kind);
    schedule();
  });
  events.addEventListener("error", () => {
    lost = true;
    // A lost connection is taken up again by the browser; a refused one (the server starts, the session has ended) is not.
    if (events.readyState !== EventSource.CLOSED) return;
    window.setTimeout(listen, wait);
    wait = Math.min(2 * wait, LONGEST_MS);
  });
}

for (const [name, now] of [["pointerdown", true], ["pointerup", false], ["pointercancel", false]]) {
  document.addEventListener(name, () => {
    pressed = now;
  });
}

// A choice that another part of the page follows from reloads it; without a script there is a button for that.
for (const it of document.querySelectorAll("[data-reload]")) {
  it.addEventListener("change", () => {
    const form = it.form;
    const step = document.querySelector(".steps [aria-current]") ? [...document.querySelectorAll(".steps li")].findIndex((li) => li.hasAttribute("aria-current")) + 1 : 0;
    const query = new URLSearchParams(new FormData(form));
    if (step > 0) query.set("step", String(step));
    window.location.assign(`${window.location.pathname}?${query}`);
  });
}

window.addEventListener("resize", () => reachable(document));
localTimes(document);
reachable(document);
if (document.querySelector("[data-live]")) listen();
