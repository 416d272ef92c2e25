// Uploads a file in parts to presigned addresses, with progress, pause, resume and cancel; then follows the job.
"use strict";

(() => {
  const form = document.getElementById("upload");
  if (!form) return;
  const field = (id) => document.getElementById(id);
  const AT_ONCE = 3;
  const TRIES = 4;

  form.hidden = false;
  field("paste").open = false;

  /** The upload under way, or null. */
  let current = null;

  class Problem extends Error {}

  async function api(method, path, body) {
    const options = { method, headers: {} };
    if (body !== undefined) {
      options.headers["content-type"] = "application/json";
      options.body = JSON.stringify(body);
    }
    const answer = await fetch(path, options);
    const text = await answer.text();
    const json = text ? JSON.parse(text) : null;
    if (!answer.ok) throw new Problem(json?.detail ?? `The server answers ${answer.status}.`);
    return json;
  }

  function show(text, share) {
    field("upload-progress").hidden = false;
    field("far").textContent = text;
    const bar = field("bar");
    if (share === null) bar.removeAttribute("value");
    else if (share !== undefined) bar.value = share;
  }

  function buttons(state) {
    field("start").disabled = state !== "idle";
    field("pause").hidden = state !== "sending" && state !== "paused";
    field("pause").textContent = state === "paused" ? "Continue" : "Pause";
    field("cancel").hidden = state === "idle";
  }

  function size(bytes) {
    const units = ["bytes", "KB", "MB", "GB", "TB"];
    let unit = 0;
    while (bytes >= 1000 && unit < units.length - 1) {
      bytes /= 1000;
      unit += 1;
    }
    return `${unit === 0 ? bytes : bytes.toFixed(1)} ${units[unit]}`;
  }

  /** Sends one part; resolves with its ETag. Network failures reject with `away`. */
  function put(upload, part, url, headers) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      upload.requests.add(request);
      const end = (outcome, value) => {
        upload.requests.delete(request);
        outcome(value);
      };
      request.open("PUT", url);
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => {
        upload.sent.set(part.number, event.loaded);
        showSending(upload);
      };
      request.onload = () => {
        if (request.status >= 200 && request.status < 300) end(resolve, request.getResponseHeader("etag") ?? JSON.parse(request.responseText).etag);
        else end(reject, Object.assign(new Problem(`Part ${part.number} was refused (${request.status}).`), { status: request.status }));
      };
      request.onerror = () => end(reject, Object.assign(new Problem("The object store cannot be reached."), { away: true }));
      request.onabort = () => end(reject, Object.assign(new Problem("stopped"), { stopped: true }));
      const start = (part.number - 1) * upload.partSize;
      request.send(upload.file.slice(start, start + part.size_bytes));
    });
  }

  function showSending(upload) {
    const sent = [...upload.sent.values()].reduce((sum, bytes) => sum + bytes, 0);
    const way = upload.through ? " through tango" : "";
    show(`${size(sent)} of ${size(upload.file.size)}${way}`, upload.file.size ? sent / upload.file.size : 0);
  }

  /** By the object store, or through tango once that has turned out to be out of reach. */
  async function sendPart(upload, part) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        if (upload.through) {
          const path = `/api/v1/uploads/${upload.id}/parts/${part.number}`;
          return await put(upload, part, path, { "content-type": "application/octet-stream" });
        }
        return await put(upload, part, part.url, part.headers);
      } catch (error) {
        if (error.stopped || upload.state !== "sending") throw error;
        if (error.away && !upload.through && upload.etags.size === 0) {
          upload.through = true;
          continue;
        }
        if (attempt >= TRIES) throw error;
        // An address expires: ask for fresh ones before the next try.
        const fresh = await api("GET", `/api/v1/uploads/${upload.id}`);
        Object.assign(part, fresh.parts.find((it) => it.number === part.number));
        await new Promise((resolve) => window.setTimeout(resolve, 500 * attempt));
      }
    }
  }

  async function send(upload) {
    upload.state = "sending";
    buttons("sending");
    const known = await api("GET", `/api/v1/uploads/${upload.id}`);
    const waiting = [];
    for (const part of known.parts) {
      if (part.arrived && part.etag) {
        upload.etags.set(part.number, part.etag);
        upload.sent.set(part.number, part.size_bytes);
      } else if (!upload.etags.has(part.number)) waiting.push(part);
    }
    const work = async () => {
      for (let part = waiting.shift(); part; part = waiting.shift()) {
        upload.etags.set(part.number, await sendPart(upload, part));
        upload.sent.set(part.number, part.size_bytes);
        showSending(upload);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    upload.state = "complete";
    buttons("working");
    const parts = [...upload.etags].sort(([a], [b]) => a - b).map(([number, etag]) => ({ number, etag }));
    const done = await api("POST", `/api/v1/uploads/${upload.id}/complete`, { parts, accept_schema: upload.accept });
    upload.job = done.job_id;
    await follow(upload);
  }

  async function follow(upload) {
    for (;;) {
      const job = await api("GET", `/api/v1/jobs/${upload.job}`);
      const { done, total, unit, phase } = job.progress;
      if (job.state === "queued" || job.state === "running") {
        const far = total ? `${done.toLocaleString()} of ${total.toLocaleString()} ${unit}` : `${done.toLocaleString()} ${unit}`;
        show(`${phase || job.state}${unit ? `: ${far}` : ""}`, total ? done / total : null);
        await new Promise((resolve) => window.setTimeout(resolve, 400));
        continue;
      }
      if (job.state !== "succeeded") throw new Problem(job.error ?? `The job is ${job.state}.`);
      const accepted = upload.target !== "dataset" || upload.accept;
      return finish(accepted ? `${upload.file.name} is in.` : `${upload.file.name} was read. Look at its schema and accept it below.`, 1);
    }
  }

  function finish(text, share) {
    current = null;
    show(text, share);
    buttons("idle");
  }

  function fail(error) {
    if (error.stopped || current?.state === "paused" || current?.state === "cancelled") return;
    finish(error instanceof Problem ? error.message : "The server cannot be reached. Try again in a moment.", 0);
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const file = field("file").files[0];
    if (!file || current) return;
    const target = field("target").value;
    const ask = { target, filename: file.name, size_bytes: file.size, mode: "create" };
    if (target === "dataset" && field("name").value.trim()) ask.name = field("name").value.trim();
    if (target !== "dataset" && field("id-field").value.trim()) ask.id_field = field("id-field").value.trim();
    show("asking for addresses…", 0);
    try {
      const made = await api("POST", "/api/v1/uploads", ask);
      current = {
        id: made.id, target, file, partSize: made.part_size_bytes, accept: target !== "dataset" || field("accept").checked,
        state: "sending", through: false, etags: new Map(), sent: new Map(), requests: new Set(), job: null,
      };
      await send(current);
    } catch (error) {
      fail(error);
    }
  });

  field("pause").addEventListener("click", () => {
    if (!current) return;
    if (current.state === "paused") return void send(current).catch(fail);
    current.state = "paused";
    for (const request of current.requests) request.abort();
    buttons("paused");
    show("paused");
  });

  field("cancel").addEventListener("click", async () => {
    const upload = current;
    if (!upload) return;
    upload.state = "cancelled";
    for (const request of upload.requests) request.abort();
    try {
      if (upload.job) await api("POST", `/api/v1/jobs/${upload.job}/cancel`);
      else await api("DELETE", `/api/v1/uploads/${upload.id}`);
    } catch {
      // It has ended by itself meanwhile.
    }
    finish("cancelled", 0);
  });

  field("target").addEventListener("change", () => {
    const target = field("target").value;
    const kind = target === "dataset" ? "dataset" : "profile";
    for (const part of form.querySelectorAll("[data-for]")) part.hidden = part.dataset.for !== kind;
    field("id-field").placeholder = target === "customers" ? "customer_id" : "agent_id";
  });
})();
