// Sends a file's parts to their presigned addresses, a few at once; through tango when the object store cannot be
// reached. It can be paused between parts, stops at a failure with what has arrived kept, and goes on from there.

import { Problem, api, parsed, wait } from "./api.js";
import { t } from "./texts.js";

const AT_ONCE = 3;
/** Pauses between two tries of a part, in milliseconds: to the object store, and through tango. */
const PAUSES_DIRECT = [500, 1500, 3000];
const PAUSES_THROUGH = [1000, 2000, 4000, 8000];
/** A part that does not move for so long is taken for lost. */
const STALLED_MS = 45_000;

const REFUSED = t("The object store refuses the file (403). Its clock, its keys or its rules may be wrong: tell whoever runs this server. What has arrived is kept: Continue tries again.");

export class Sending {
  /** `onProgress` is called whenever something moves. */
  constructor(id, file, onProgress) {
    this.id = id;
    this.file = file;
    this.onProgress = onProgress;
    /** `sending`, `pausing`, `paused`, `failing`, `sent` or `cancelled`. */
    this.state = "paused";
    /** Through tango. */
    this.through = false;
    this.etags = new Map();
    this.moved = new Map();
    this.waiting = [];
    this.requests = new Set();
    this.workers = 0;
    /** Parts that wait for their next try. */
    this.resting = 0;
    this.arrivedDirectly = false;
  }

  get sentBytes() {
    return [...this.moved.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Sends what is missing. Resolves with `sent` or `paused`; rejects with the first failure once no part is under way. */
  async run() {
    this.state = "sending";
    // Where parts have arrived directly, the object store may be back.
    if (this.arrivedDirectly) this.through = false;
    const known = await this.look();
    // Completed before, by a request whose answer was lost.
    if (known.job_id) return this.end("sent");
    this.partSize = known.part_size_bytes;
    this.waiting = [];
    for (const part of known.parts) this.sort(part);
    this.onProgress();
    await this.pool();
    if (this.waiting.length === 0) await this.findEtags();
    return this.end(this.waiting.length === 0 ? "sent" : "paused");
  }

  pause() {
    if (this.state === "sending") this.state = "pausing";
  }

  /** Takes a pause back that has not begun. */
  unpause() {
    if (this.state !== "pausing") return;
    this.state = "sending";
    this.staff();
  }

  cancel() {
    this.state = "cancelled";
    for (const request of this.requests) request.abort();
  }

  /** What `complete` wants to know. */
  parts() {
    return [...this.etags].sort(([a], [b]) => a - b).map(([number, etag]) => ({ number, etag }));
  }

  look() {
    return api("GET", `/api/v1/uploads/${this.id}`);
  }

  end(state) {
    if (this.state === "cancelled") throw new Problem("cancelled", { stopped: true });
    this.state = state;
    return state;
  }

  sort(part) {
    if (part.arrived && part.etag) {
      this.etags.set(part.number, part.etag);
      this.moved.set(part.number, part.size_bytes);
      return;
    }
    this.etags.delete(part.number);
    this.moved.delete(part.number);
    this.waiting.push(part);
  }

  /** Works until nothing is under way any more: all is sent, a pause was asked for, or something failed. */
  pool() {
    this.failure = null;
    return new Promise((resolve, reject) => {
      this.settle = () => (this.failure ? reject(this.failure) : resolve());
      this.staff();
      if (this.workers === 0) this.settle();
    });
  }

  staff() {
    while (this.state === "sending" && this.workers < AT_ONCE && this.waiting.length > 0) {
      this.workers += 1;
      this.work().catch((error) => {
        this.failure ??= error;
        // The other parts are finished: what has arrived need not be sent again.
        if (this.state !== "cancelled") this.state = "failing";
      }).finally(() => {
        this.workers -= 1;
        if (this.workers === 0) this.settle();
      });
    }
  }

  async work() {
    while (this.state === "sending" && this.waiting.length > 0) {
      const part = this.waiting.shift();
      try {
        this.etags.set(part.number, await this.send(part));
        this.moved.set(part.number, part.size_bytes);
      } catch (error) {
        this.moved.delete(part.number);
        this.waiting.unshift(part);
        // A pause came while the part waited for its next try: it is sent when the upload goes on.
        if (!error.later) throw error;
      }
      this.onProgress();
    }
  }

  /** Sends one part, however often it takes; resolves with its ETag, or null when it cannot be read here. */
  async send(part) {
    let tries = 0;
    let askedAgain = false;
    for (;;) {
      const through = this.through;
      try {
        return await this.put(part, through);
      } catch (error) {
        if (error.stopped) throw error;
        await this.checkFile();
        if (through) {
          if (!error.away && error.status < 500 && error.status !== 408 && error.status !== 429) throw error;
          if (tries >= PAUSES_THROUGH.length) throw error;
          await this.rest(PAUSES_THROUGH[tries]);
          tries += 1;
          continue;
        }
        if (error.status === 403) {
          if (askedAgain) throw new Problem(REFUSED);
          askedAgain = true;
          await this.renew(part);
          continue;
        }
        const hopeless = error.away && !this.arrivedDirectly;
        if (this.through || hopeless || tries >= PAUSES_DIRECT.length) {
          this.through = true;
          tries = 0;
          await this.rest(0);
          continue;
        }
        await this.rest(PAUSES_DIRECT[tries]);
        tries += 1;
        await this.renew(part);
      }
    }
  }

  async rest(ms) {
    this.resting += 1;
    this.onProgress();
    await wait(ms);
    this.resting -= 1;
    if (this.state !== "sending") throw new Problem("paused", { later: true, stopped: this.state === "cancelled" });
  }

  /** An address expires: asks for a fresh one. */
  async renew(part) {
    try {
      const fresh = (await this.look()).parts.find((it) => it.number === part.number);
      if (fresh?.url) Object.assign(part, fresh);
    } catch (error) {
      if (!error.away) throw error;
    }
  }

  /** A file that was changed or moved fails like a network does; it is another thing to be told. */
  async checkFile() {
    try {
      await this.file.slice(0, 1).arrayBuffer();
    } catch {
      throw new Problem(t("The file cannot be read any more: it was changed, moved or deleted. Choose it again and start anew."));
    }
  }

  put(part, through) {
    const url = through ? `/api/v1/uploads/${this.id}/parts/${part.number}` : part.url;
    const headers = through ? { "content-type": "application/octet-stream" } : part.headers;
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      let stalled;
      const alive = () => {
        window.clearTimeout(stalled);
        stalled = window.setTimeout(() => {
          fail(t("The connection stands still."), { away: true });
          request.abort();
        }, STALLED_MS);
      };
      const end = () => {
        window.clearTimeout(stalled);
        this.requests.delete(request);
      };
      const fail = (text, more) => {
        end();
        this.moved.delete(part.number);
        reject(new Problem(text, more));
      };
      request.open("PUT", url);
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => {
        alive();
        this.moved.set(part.number, Math.min(event.loaded, part.size_bytes));
        this.onProgress();
      };
      request.onload = () => {
        const { status } = request;
        if (status < 200 || status >= 300) {
          const said = parsed(request.responseText)?.detail;
          return fail(said ?? t("Part {n} was refused ({status}).", { n: part.number, status }), { status });
        }
        end();
        if (!through) this.arrivedDirectly = true;
        // Reading a header that the object store does not expose to scripts would be reported as an error.
        const readable = /^etag:/im.test(request.getAllResponseHeaders());
        resolve(readable ? request.getResponseHeader("etag") : (parsed(request.responseText)?.etag ?? null));
      };
      request.onerror = () => fail(through ? t("The server cannot be reached.") : t("The object store cannot be reached."), { away: true });
      request.onabort = () => fail("stopped", { stopped: true });
      this.requests.add(request);
      alive();
      const start = (part.number - 1) * this.partSize;
      request.send(this.file.slice(start, start + part.size_bytes));
    });
  }

  /** Where the object store hides the ETags from scripts, tango knows them; what it does not have goes through it. */
  async findEtags() {
    if (![...this.etags.values()].includes(null)) return;
    const known = await this.look();
    for (const part of known.parts) if (this.etags.get(part.number) === null) this.sort(part);
    if (this.waiting.length === 0) return;
    this.through = true;
    await this.pool();
  }
}
