// Whether this browser reaches the object store, before an upload: and if not, why, as far as that can be told apart.

import { api } from "./api.js";
import { t } from "./texts.js";

const PATIENCE_MS = 5000;
let known = null;

/** What is wrong, in words; nothing when all is well. */
export async function probe() {
  known ??= look();
  return known;
}

async function look() {
  let store;
  try {
    store = await api("GET", "/api/v1/uploads/object_store");
  } catch {
    return "";
  }
  if (!store.url) return "";
  try {
    // Any answer will do, also a refusal: the connection is what is asked about.
    await fetch(store.url, { mode: "no-cors", cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(PATIENCE_MS) });
    return "";
  } catch (error) {
    const goes = t("The file goes through tango instead, which is slower.");
    const { origin } = new URL(store.url);
    if (!store.reached) return `${t("The object store at {origin} does not answer at the moment.", { origin })} ${goes}`;
    if (error.name === "TimeoutError") return `${t("Nothing comes back from {origin}: a firewall between this browser and the object store may swallow it.", { origin })} ${goes}`;
    if (store.url.startsWith("https:") && store.certificate === "private") {
      return `${t("This browser does not trust the certificate of {origin}: open that address once and accept it, or have its authority installed.", { origin })} ${goes}`;
    }
    return `${t("The port of {origin} is closed for this browser, though the server reaches it.", { origin })} ${goes}`;
  }
}
