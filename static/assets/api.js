// The server's API, and what goes wrong with it.

import { t } from "./texts.js";

/** Something that a person is told; `status` is the answer's, absent when there was none. */
export class Problem extends Error {
  constructor(text, more = {}) {
    super(text);
    Object.assign(this, more);
  }
}

export async function api(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  let text;
  try {
    answer = await fetch(path, options);
    text = await answer.text();
  } catch {
    throw new Problem(t("The server cannot be reached."), { away: true });
  }
  const json = parsed(text);
  if (answer.ok) return json;
  throw new Problem(json?.detail ? await said(json.detail) : t("The server answers {status}.", { status: answer.status }), { status: answer.status, code: json?.code });
}

/** What the API says, as pages say it: in the person's language. */
export async function said(text) {
  try {
    const answer = await fetch(`/said?text=${encodeURIComponent(text)}`);
    return answer.ok && !answer.redirected ? (await answer.json()).text : text;
  } catch {
    // In English is better than not at all.
    return text;
  }
}

/** The JSON in a text, or null: something between here and the server may answer in its own words. */
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

export function wait(ms) {
  return new Promise((resolve) => window.setTimeout(resolve, ms));
}
