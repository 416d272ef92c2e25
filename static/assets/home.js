// Keeps the home page up to date while somebody looks: the server says what changed, the page is read again.
"use strict";

(() => {
  const overview = document.getElementById("overview");
  if (!overview || !window.EventSource) return;

  const PAUSE_MS = 700;
  let timer = null;
  let reading = false;

  async function refresh() {
    timer = null;
    // A form in use must not be taken away from under the pointer.
    if (reading || overview.contains(document.activeElement)) return schedule();
    reading = true;
    try {
      const answer = await fetch("/home", { headers: { accept: "text/html" } });
      if (answer.redirected) return window.location.assign("/login");
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("overview");
      if (fresh) overview.replaceChildren(...fresh.childNodes);
    } catch {
      // Away for a moment; the next change tries again.
    } finally {
      reading = false;
    }
  }

  function schedule() {
    if (timer === null) timer = window.setTimeout(refresh, PAUSE_MS);
  }

  const events = new EventSource("/api/v1/events");
  for (const name of ["jobs", "datasets", "models", "reload"]) events.addEventListener(name, schedule);
})();
