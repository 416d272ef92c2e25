// The upload form: starts, pauses, continues and cancels an upload, follows its job, and tells what became of the rows.

import { api, Problem, said, wait } from "./api.js";
import { far, grouped, size } from "./figures.js";
import { preview, unpreview } from "./preview.js";
import { probe } from "./probe.js";
import { forget, isSame, remember, unfinished } from "./remembered.js";
import { Sending } from "./sending.js";
import { t } from "./texts.js";

const form = document.getElementById("upload");
const field = (id) => document.getElementById(id);
/** Rows are appended to this dataset. */
const appendTo = form.dataset.dataset;
const LOCKED = ["target", "file", "name", "id-field", "encoding", "separator", "accept"];
const POLL_MS = 500;
const AWAY_MS = 3000;

/**
 * The upload under way, or null: `{ id, file, target, accept, sending, phase, job }`.
 * Its phases: `starting`, `sending`, `pausing`, `paused`, `stopped` (by a failure), `working` (a job reads the file).
 */
let current = null;
/** Uploads of earlier visits that can be continued. */
let kept = [];

function phase(to) {
  if (current) current.phase = to;
  const now = current ? current.phase : "idle";
  const focused = document.activeElement;
  // Other scripts must not leave the page while bytes are on their way.
  form.dataset.busy = ["starting", "sending", "pausing", "paused", "stopped"].includes(now) ? "yes" : "";
  for (const id of LOCKED) field(id).disabled = now !== "idle";
  if (now !== "idle") {
    field("upload-progress").hidden = false;
    field("resume").hidden = true;
  }
  field("start").disabled = now !== "idle";
  field("resume").disabled = now !== "idle";
  field("pause").hidden = !["sending", "pausing", "paused", "stopped"].includes(now);
  field("pause").textContent = now === "sending" ? t("Pause") : t("Continue");
  field("cancel").hidden = now === "idle" || now === "starting";
  // A control that goes away takes the focus with it: what happens is told beside it.
  if (form.contains(focused) && (focused.disabled || focused.hidden)) {
    (now === "idle" ? field("start") : field("far")).focus({ preventScroll: true });
  }
}

/** What is seen changes all the time; what is read out changes with `say`. `links` are `[text, address]`. */
function show(text, share, links = []) {
  field("upload-progress").hidden = false;
  const line = field("far");
  line.textContent = text;
  for (const [words, address, elsewhere] of links) {
    const link = document.createElement("a");
    link.textContent = words;
    link.href = address;
    if (elsewhere) Object.assign(link, { target: "_blank", rel: "noopener" });
    line.append(" ", link);
  }
  const bar = field("bar");
  if (share === null) bar.removeAttribute("value");
  else if (share !== undefined) bar.value = share;
}

function say(text) {
  if (field("upload-said").textContent !== text) field("upload-said").textContent = text;
}

function tell(text, share, links) {
  show(text, share, links);
  say(text);
}

/** Every tenth is read out. */
function sayShare(what, share) {
  const tenth = Math.floor(share * 10);
  if (tenth > 0 && tenth < 10) say(`${what}: ${tenth * 10} %`);
}

/** Bytes a second over the last seconds, and how long the rest takes. */
function pace(upload, sent) {
  const now = performance.now();
  upload.paces = (upload.paces ?? []).filter(([time]) => now - time < 8000);
  upload.paces.push([now, sent]);
  const [first, before] = upload.paces[0];
  const speed = now - first > 700 ? ((sent - before) * 1000) / (now - first) : 0;
  if (speed <= 0) return "";
  const seconds = Math.ceil((upload.file.size - sent) / speed);
  const left = seconds < 90 ? t("{n} s left", { n: seconds }) : t("{n} min left", { n: Math.ceil(seconds / 60) });
  return `, ${size(speed)}/s, ${left}`;
}

function showSending() {
  const { sending, file } = current;
  const sent = sending.sentBytes;
  const share = file.size ? sent / file.size : 0;
  let text = t("{done} of {total}", { done: size(sent), total: size(file.size) });
  if (current.phase === "sending") text += pace(current, sent);
  if (sending.through) text += t(", through tango, which is slower: the object store cannot be reached from here");
  if (sending.resting > 0) text += t(" (trying again…)");
  if (current.phase === "pausing") text = t("Pausing once the parts under way are sent: {far}", { far: text });
  show(text, share);
  sayShare(t("Uploading"), share);
}

async function start(file) {
  const target = field("target").value;
  const accept = target !== "dataset" || Boolean(appendTo) || field("accept").checked;
  const ask = { target, filename: file.name, size_bytes: file.size, mode: appendTo ? "append" : "create" };
  if (appendTo) ask.dataset_id = appendTo;
  const typed = (id) => field(id).value.trim();
  if (target === "dataset" && !appendTo && typed("name")) ask.name = typed("name");
  if (target !== "dataset" && typed("id-field")) ask.id_field = typed("id-field");
  if (typed("encoding")) ask.encoding = typed("encoding");
  if (typed("separator")) ask.separator = typed("separator");
  current = { id: null, file, target, accept, sending: null, phase: "starting", job: null };
  phase("starting");
  tell(t("Starting…"), 0);
  try {
    const made = await api("POST", "/api/v1/uploads", ask);
    current.id = made.id;
    remember(current);
  } catch (error) {
    return finish(reason(error), 0, signIn(error));
  }
  await send();
}

async function resume(file, earlier) {
  current = { id: earlier.id, file, target: earlier.target, accept: earlier.accept, sending: null, phase: "starting", job: null };
  phase("starting");
  tell(t("Continuing…"), 0);
  await send();
}

/** Sends what is missing, then has the file read. */
async function send() {
  const upload = current;
  upload.sending ??= new Sending(upload.id, upload.file, () => current === upload && showSending());
  phase("sending");
  try {
    if ((await upload.sending.run()) === "paused") {
      phase("paused");
      return tell(t("Paused: {done} of {total} sent.", { done: size(upload.sending.sentBytes), total: size(upload.file.size) }));
    }
    phase("working");
    tell(t("All is sent."), 1);
    await complete(upload);
  } catch (error) {
    return stop(upload, error);
  }
  await follow(upload);
}

async function complete(upload) {
  const body = { parts: upload.sending.parts(), accept_schema: upload.accept };
  for (let tries = 1; ; tries += 1) {
    try {
      upload.job = (await api("POST", `/api/v1/uploads/${upload.id}/complete`, body)).job_id;
      return forget(upload.id);
    } catch (error) {
      if (tries >= 4 || !(error.away || error.status >= 500)) throw error;
      await wait(1000 * tries);
    }
  }
}

/** A failure ends an upload only when the server no longer has it; otherwise it can be continued. */
function stop(upload, error) {
  if (current !== upload || error.stopped) return;
  if (error.status === 404 || error.status === 410) {
    forget(upload.id);
    return finish(reason(error), 0);
  }
  phase("stopped");
  const kept = error.status === 401 || error.message.includes("Continue") ? "" : t(" What has arrived is kept: Continue goes on from there.");
  tell(`${reason(error)}${kept}`, undefined, signIn(error));
}

function reason(error) {
  if (error.status === 401) return t("Your session has ended. Sign in again in a new tab, then go on here: nothing is lost.");
  if (error instanceof Problem) return error.message;
  return t("Something went wrong in this page. Reload it and choose the same file again to continue.");
}

function signIn(error) {
  return error.status === 401 ? [[t("Sign in"), "/login", true]] : [];
}

async function follow(upload) {
  phase("working");
  while (current === upload) {
    let job;
    try {
      job = await api("GET", `/api/v1/jobs/${upload.job}`);
    } catch (error) {
      if (error.status === 404) return finish(t("The job is gone."), 0);
      const text = error.status === 401 ? t("Your session has ended. The server goes on reading the file: sign in again to see how far it is.") : t("The server cannot be reached; this page keeps trying.");
      tell(text, null, signIn(error));
      await wait(AWAY_MS);
      continue;
    }
    if (current !== upload) return;
    if (job.state === "succeeded") return await tellResult(upload, job);
    if (job.state === "cancelled") return finish(t("Cancelled."), 0);
    if (job.state !== "queued" && job.state !== "running") return await tellFailure(upload, job);
    const { done, total } = job.progress;
    const text = far(job.progress);
    show(job.state === "queued" ? t("Waiting for a worker…") : text ? t("Reading: {far}", { far: text }) : t("Reading…"), total ? done / total : null);
    if (total) sayShare(t("Reading"), done / total);
    await wait(POLL_MS);
  }
}

async function tellResult(upload, job) {
  const { file, target, accept } = upload;
  const result = job.result ?? {};
  const name = file.name;
  unpreview();
  if (target === "dataset" && !accept) {
    const schema = result.dataset_id ? [[t("Look at its schema"), `/datasets/${result.dataset_id}/schema`]] : [];
    return finish(t("{name} was read. Nothing is stored before its schema is accepted.", { name }), 1, schema);
  }
  const profile = target === "dataset" ? null : target;
  const refused = (profile ? result.rejected : result.rows_rejected) ?? 0;
  const there = profile ? [t("Look at them"), `/${profile}`] : [t("Look at the dataset"), `/datasets/${result.dataset_id ?? appendTo}`];
  let text = t("{name} is in", { name });
  if (profile && result.rows !== undefined) {
    text += t(": {n} new or changed", { n: grouped(result.accepted) });
    if (result.unchanged) text += t(", {n} as before", { n: grouped(result.unchanged) });
    if (result.stale) text += t(", {n} older than what is there", { n: grouped(result.stale) });
  } else if (typeof result.rows_added === "number") {
    text = t("{name}: {n} rows are in", { name, n: grouped(result.rows_added) });
  }
  const links = [there];
  if (refused > 0) {
    text += t(", {n} refused", { n: grouped(refused) });
    links.push([t("See which"), profile ? `/api/v1/${profile}/rejected` : `/datasets/${result.dataset_id ?? appendTo}/rejected`]);
  }
  finish(`${text}.`, 1, links);
}

async function tellFailure(upload, job) {
  const text = job.error ? await said(job.error) : t("The job is {state}.", { state: job.state });
  // The controls that the text speaks of.
  if (/encoding|separator/.test(job.error ?? "")) field("reading").open = true;
  finish(text, 0, await refusedRows(upload, job));
}

/** The report of the rows that made a file be refused, if there is one. */
async function refusedRows(upload, job) {
  const words = t("See which rows");
  if (upload.target !== "dataset") return /\/rejected/.test(job.error) ? [[words, `/api/v1/${upload.target}/rejected`]] : [];
  try {
    const { dataset_id: id } = await api("GET", `/api/v1/uploads/${upload.id}`);
    const dataset = await api("GET", `/api/v1/datasets/${id}`);
    return dataset.rejected_rows > 0 ? [[words, `/datasets/${id}/rejected`]] : [];
  } catch {
    return [];
  }
}

function finish(text, share, links = []) {
  current = null;
  phase("idle");
  tell(text, share, links);
  offer();
}

/** What was begun in an earlier visit: told, and offered when its file is chosen again. */
async function offer() {
  try {
    kept = (await unfinished()).filter((it) => it.id !== current?.id);
  } catch {
    // Away or signed out: what is told about it is told elsewhere.
  }
  const note = field("unfinished");
  note.replaceChildren(...kept.map(line));
  note.hidden = kept.length === 0;
  chosen();
}

function line(earlier) {
  const row = document.createElement("p");
  const drop = document.createElement("button");
  Object.assign(drop, { type: "button", className: "plain small", textContent: t("Drop it") });
  drop.addEventListener("click", async () => {
    if (!window.confirm(t("What was sent of {name} will be lost. Drop it?", { name: earlier.name }))) return;
    drop.disabled = true;
    try {
      await api("DELETE", `/api/v1/uploads/${earlier.id}`);
    } catch {
      // It has ended by itself meanwhile.
    }
    forget(earlier.id);
    await offer();
    field("file").focus({ preventScroll: true });
  });
  row.append(t("{name} ({size}) was not sent to its end. To continue, choose the same file again.", { name: earlier.name, size: size(earlier.size) }), " ", drop);
  return row;
}

function chosen() {
  const file = field("file").files[0];
  const earlier = file && kept.find((it) => isSame(it, file));
  field("resume").hidden = !earlier || current !== null;
  field("resume").textContent = earlier ? t("Continue {name}", { name: file.name }) : t("Continue");
  field("start").textContent = earlier ? t("Upload anew") : t("Upload");
  field("start").classList.toggle("plain", Boolean(earlier));
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const file = field("file").files[0];
  if (file && !current) start(file);
});

field("resume").addEventListener("click", () => {
  const file = field("file").files[0];
  const earlier = file && kept.find((it) => isSame(it, file));
  if (!earlier || current) return;
  field("unfinished").hidden = true;
  resume(file, earlier);
});

field("pause").addEventListener("click", () => {
  if (!current) return;
  if (current.phase === "sending") {
    phase("pausing");
    current.sending.pause();
    say(t("Pausing"));
    return showSending();
  }
  if (current.phase === "pausing") {
    phase("sending");
    return current.sending.unpause();
  }
  send();
});

field("cancel").addEventListener("click", async () => {
  const upload = current;
  if (!upload || !window.confirm(t("What was sent of {name} will be lost. Drop it?", { name: upload.file.name }))) return;
  current = null;
  upload.sending.cancel();
  forget(upload.id);
  phase("idle");
  tell(t("Cancelled."), 0);
  try {
    if (upload.job) await api("POST", `/api/v1/jobs/${upload.job}/cancel`);
    else await api("DELETE", `/api/v1/uploads/${upload.id}`);
  } catch {
    // It has ended by itself meanwhile.
  }
  offer();
});

field("file").addEventListener("change", () => {
  chosen();
  look();
});

/** The first rows, at once; and how the file will travel. */
async function look() {
  const file = field("file").files[0];
  if (!file) return unpreview();
  preview(file);
  const trouble = await probe();
  field("probe").hidden = !trouble;
  field("probe").textContent = trouble;
}

function showTarget() {
  const target = field("target").value;
  const kind = target === "dataset" ? "dataset" : "profile";
  for (const part of form.querySelectorAll("[data-for]")) part.hidden = Boolean(appendTo) || part.dataset.for !== kind;
  field("id-field").placeholder = target === "customers" ? "customer_id" : "agent_id";
}

field("target").addEventListener("change", showTarget);

// A file that is dropped beside the form would be opened in place of this page.
for (const name of ["dragover", "drop"]) {
  window.addEventListener(name, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    const inside = form.contains(event.target);
    form.classList.toggle("over", name === "dragover" && inside && !current);
    if (name === "dragover") event.dataTransfer.dropEffect = inside && !current ? "copy" : "none";
    else if (inside && !current) drop(event.dataTransfer);
  });
}
form.addEventListener("dragleave", (event) => {
  if (!form.contains(event.relatedTarget)) form.classList.remove("over");
});

function drop(transfer) {
  if (transfer.items[0]?.webkitGetAsEntry?.()?.isDirectory) return tell(t("That is a folder. Drop a file."), 0);
  if (transfer.files.length !== 1) return tell(t("One file at a time, please."), 0);
  field("file").files = transfer.files;
  chosen();
  look();
  field("start").focus();
}

window.addEventListener("beforeunload", (event) => {
  if (current && ["starting", "sending", "pausing", "paused", "stopped"].includes(current.phase)) event.preventDefault();
});

field("by-file").hidden = false;
if (!("keep" in field("paste").dataset)) field("paste").open = false;
// A reloaded page may keep what was chosen before.
showTarget();
offer();
