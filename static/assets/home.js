// Keeps the home page up to date while somebody looks: the server says what changed, the page is read again.

const overview = document.getElementById("overview");
const PAUSE_MS = 700;
const RECONNECT_MS = 10_000;
let timer = null;
let reading = false;
let pressed = false;

// A notice tells what has just happened: it is not told again when the page is loaded again.
const address = new URL(window.location.href);
if (address.searchParams.has("done")) {
  address.searchParams.delete("done");
  window.history.replaceState(null, "", address);
}

async function refresh() {
  timer = null;
  // What is being clicked must not be taken away from under the pointer.
  if (reading || pressed) return schedule();
  reading = true;
  try {
    const answer = await fetch(`/home${window.location.search}`, { headers: { accept: "text/html" } });
    if (answer.redirected) return leave();
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const fresh of page.querySelectorAll("#overview > section")) renew(document.getElementById(fresh.id), fresh);
  } catch {
    // Away for a moment; the next change tries again.
  } finally {
    reading = false;
  }
}

/** Signed out. An upload under way is not thrown away: it says so itself. */
function leave() {
  if (!document.getElementById("upload").dataset.busy) window.location.assign("/login");
}

/** Replaces a section that has changed; the focus, open questions and scrolling stay where they are. */
function renew(old, fresh) {
  if (!old || old.outerHTML === fresh.outerHTML) return;
  const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
  const scrolled = [...old.querySelectorAll(".scroll[id]")].map((it) => [it.id, it.scrollLeft]);
  for (const open of old.querySelectorAll("details[open][id]")) fresh.querySelector(`#${open.id}`)?.setAttribute("open", "");
  if (old.outerHTML === fresh.outerHTML) return;
  old.replaceWith(fresh);
  for (const [id, left] of scrolled) document.getElementById(id)?.scrollTo({ left });
  reachable();
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

/** What scrolls can be scrolled with keys; what does not is no stop on the way. */
function reachable() {
  for (const it of overview.querySelectorAll(".scroll")) {
    if (it.scrollWidth > it.clientWidth) it.tabIndex = 0;
    else it.removeAttribute("tabindex");
  }
}

function schedule() {
  if (timer === null) timer = window.setTimeout(refresh, PAUSE_MS);
}

function listen() {
  const events = new EventSource("/api/v1/events");
  for (const name of ["jobs", "datasets", "models", "reload"]) events.addEventListener(name, schedule);
  events.addEventListener("error", () => {
    // A lost connection is taken up again by the browser; a refused one (the session has ended) is not.
    if (events.readyState !== EventSource.CLOSED) return;
    schedule();
    window.setTimeout(listen, RECONNECT_MS);
  });
}

for (const [name, now] of [["pointerdown", true], ["pointerup", false], ["pointercancel", false]]) {
  document.addEventListener(name, () => {
    pressed = now;
  });
}
window.addEventListener("resize", reachable);
reachable();
listen();
