// The playground: whether the filter is understood while it is typed, and the request for the clipboard.

import { t } from "./texts.js";

const PAUSE_MS = 300;
const filter = document.getElementById("action_filters");
const said = document.getElementById("filter-said");
let timer = null;
let asked = 0;

async function check() {
  const mine = (asked += 1);
  const text = filter.value;
  if (!text.trim()) return tell("", false);
  let answer;
  try {
    answer = await (await fetch(`/playground/filter?text=${encodeURIComponent(text)}`)).json();
  } catch {
    return;
  }
  // Another letter was typed meanwhile.
  if (mine !== asked) return;
  if (!answer.ok) return tell(answer.detail, true);
  tell(answer.more ? t("{n} agents or more fit.", { n: answer.agents }) : t("{n} agents fit.", { n: answer.agents }), false);
}

function tell(text, bad) {
  said.textContent = text;
  said.classList.toggle("error", bad);
  if (bad) filter.setAttribute("aria-invalid", "true");
  else filter.removeAttribute("aria-invalid");
}

filter?.addEventListener("input", () => {
  window.clearTimeout(timer);
  timer = window.setTimeout(check, PAUSE_MS);
});

const copy = document.getElementById("copy");
if (copy && navigator.clipboard) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById("curl").textContent);
    copy.textContent = t("Copied");
  });
}
