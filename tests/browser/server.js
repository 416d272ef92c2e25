// A real server in a folder of its own, on free ports. Only what was started here is ended.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../..");
export const USERNAME = "super_user@genesys.com";
export const PASSWORD = "a password for browsers";

function program() {
  const found = [process.env.TANGO, join(root, "target/release/tango"), join(root, "target/debug/tango")].find((it) => it && existsSync(it));
  if (!found) throw new Error("no tango program: build it (cargo build --release), or name it in TANGO");
  return found;
}

export class Server {
  constructor(settings = {}) {
    this.folder = mkdtempSync(join(tmpdir(), "tango-browser-"));
    this.settings = settings;
    this.listen = "127.0.0.1:0";
    this.s3 = "127.0.0.1:0";
  }

  /** Resolves with the address once the server answers. */
  async start() {
    const env = { ...process.env, LISTEN: this.listen, S3_LISTEN: this.s3, DATA_DIR: join(this.folder, "data"), SUPER_USER_PASSWORD: PASSWORD, ...this.settings };
    this.process = spawn(program(), [], { cwd: this.folder, env, stdio: ["ignore", "pipe", "pipe"] });
    this.log = "";
    this.process.stderr.on("data", (bytes) => (this.log += bytes));
    let out = "";
    this.url = await new Promise((done, failed) => {
      this.process.stdout.on("data", (bytes) => {
        out += bytes;
        const line = out.match(/web application +(http\S+)/);
        if (line) done(line[1].replace(/\/$/, ""));
      });
      this.process.once("exit", (code) => failed(new Error(`the server ended (${code}): ${out}\n${this.log}`)));
    });
    // A restart listens where it did before: pages that are open find it again.
    this.listen = new URL(this.url).host;
    const s3 = out.match(/http:\/\/(127\.0\.0\.1:\d+)(?!.*web application)/g)?.map((it) => new URL(it).host).find((host) => host !== this.listen);
    if (s3) this.s3 = s3;
    return this.url;
  }

  async stop() {
    if (this.process?.exitCode !== null) return;
    const ended = new Promise((done) => this.process.once("exit", done));
    this.process.kill("SIGTERM");
    await ended;
  }

  async end() {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** A token for `api`. */
  async signIn() {
    const body = JSON.stringify({ username: USERNAME, password: PASSWORD });
    const answer = await fetch(`${this.url}/api/v1/auth/login`, { method: "POST", headers: { "content-type": "application/json" }, body });
    this.token = (await answer.json()).token;
  }

  async api(method, path, body) {
    if (!this.token) await this.signIn();
    const headers = { authorization: `Bearer ${this.token}`, "content-type": "application/json" };
    const answer = await fetch(`${this.url}/api/v1${path}`, { method, headers, body: body && JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }
}
