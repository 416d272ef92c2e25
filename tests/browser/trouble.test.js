// What goes wrong while somebody works: reloads, a lost network, an ended session, a restart, things that are gone, files
// of the wrong kind, an object store that cannot be reached, strange names, wide tables.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer as createStore } from "node:https";
import { createServer } from "node:net";

import { holds, launch, open, signIn } from "./browser.js";
import { calls, dice, file } from "./data.js";
import { PASSWORD, Server, USERNAME } from "./server.js";

const server = new Server();
const long = { timeout: 300_000 };
let browser;
let page;

export const steps = [];
const step = (name, work) => steps.push([name, work]);

export async function end() {
  await browser?.close();
  await server.end();
}

step("start", async () => {
  await server.start();
  browser = await launch();
  page = await open(browser, server.url);
  await signIn(page);
});

/** A file of several parts. */
function large() {
  const next = dice(3);
  const lines = ["call_time,agent_id,noise,resolved"];
  for (let row = 0; row < 90_000; row += 1) lines.push(`2026-01-01T00:00:00Z,a${row % 9},${(next() * 1e15).toFixed(0)}${(next() * 1e15).toFixed(0)}${(next() * 1e15).toFixed(0)}${(next() * 1e15).toFixed(0)}${(next() * 1e15).toFixed(0)}${(next() * 1e15).toFixed(0)}${(next() * 1e15).toFixed(0)},${row % 2 === 0}`);
  return file("large.csv", lines.join("\n"));
}

step("an upload on a slow network is paused, survives a reload, and goes on", async () => {
  const path = large();
  const client = await page.context().newCDPSession(page);
  await page.goto("/upload");
  await page.getByLabel("File", { exact: true }).setInputFiles(path);
  await page.locator("#preview-table tbody tr").first().waitFor();
  await client.send("Network.enable");
  await client.send("Network.emulateNetworkConditions", { offline: false, latency: 50, downloadThroughput: -1, uploadThroughput: 1_200_000 });
  const part = page.waitForResponse((answer) => answer.request().method() === "PUT" && answer.ok());
  await page.getByRole("button", { name: "Upload", exact: true }).click();
  await page.locator("#far", { hasText: "left" }).waitFor();
  await part;
  await page.getByRole("button", { name: "Pause" }).click();
  page.on("dialog", (dialog) => dialog.accept());
  await page.reload();
  await page.locator("#unfinished", { hasText: "was not sent to its end" }).waitFor();
  await client.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  await page.getByLabel("File", { exact: true }).setInputFiles(path);
  const sent = [];
  page.on("request", (request) => request.method() === "PUT" && sent.push(request.url()));
  await page.getByRole("button", { name: "Continue large.csv" }).click();
  await page.getByRole("link", { name: "Look at its schema" }).waitFor(long);
  assert.ok(sent.length >= 1, "what was missing was sent");
  const { items } = await server.api("GET", "/datasets?name=large");
  assert.equal(items.length, 1, "it is one upload");
});

step("cancelling an upload asks first, and names what is lost", async () => {
  const other = await open(browser, server.url);
  await signIn(other);
  const client = await other.context().newCDPSession(other);
  await other.goto("/upload");
  await other.getByLabel("File", { exact: true }).setInputFiles(large());
  await other.getByLabel("Name of the dataset").fill("cancelled");
  await client.send("Network.enable");
  await client.send("Network.emulateNetworkConditions", { offline: false, latency: 50, downloadThroughput: -1, uploadThroughput: 1_200_000 });
  await other.getByRole("button", { name: "Upload", exact: true }).click();
  await other.locator("#far", { hasText: "left" }).waitFor();
  const asked = [];
  other.on("dialog", async (dialog) => {
    asked.push(dialog.message());
    await (asked.length === 1 ? dialog.dismiss() : dialog.accept());
  });
  await other.getByRole("button", { name: "Cancel", exact: true }).click();
  assert.match(await other.locator("#far").textContent(), /left/, "it goes on");
  await other.getByRole("button", { name: "Cancel", exact: true }).click();
  await other.locator("#far", { hasText: "Cancelled." }).waitFor();
  assert.deepEqual(asked, Array(2).fill("What was sent of large.csv will be lost. Drop it?"));
  await other.context().close();
});

step("a lost network in mid-upload: told, kept, continued", async () => {
  await page.goto("/upload");
  await page.getByLabel("File", { exact: true }).setInputFiles(file("calls.csv", calls(300)));
  await page.getByLabel("Name of the dataset").fill("calls");
  await page.route("**/*", (route) => (["PUT", "POST"].includes(route.request().method()) && !route.request().url().includes("/complete") ? route.continue() : route.request().url().includes("/complete") ? route.abort() : route.continue()));
  await page.getByRole("button", { name: "Upload", exact: true }).click();
  await page.locator("#far", { hasText: "Continue goes on" }).waitFor(long);
  await page.unroute("**/*");
  await page.getByRole("button", { name: "Continue", exact: true }).click();
  await page.getByRole("link", { name: "Look at its schema" }).click(long);
  await page.waitForURL("**/schema");
});

step("a session that ends in mid-form: nothing that was typed is lost", async () => {
  await page.getByLabel("What resolved is").selectOption("metric");
  await page.context().clearCookies({ name: "tango_session" });
  await page.getByRole("button", { name: "Accept and store the rows" }).click();
  await page.getByRole("heading", { name: "Your session has ended" }).waitFor();
  await holds(page, "session-ended");
  const [tab] = await Promise.all([page.context().waitForEvent("page"), page.getByRole("link", { name: "Sign in in a new tab" }).click()]);
  await tab.getByLabel("Username").fill(USERNAME);
  await tab.getByLabel("Password").fill(PASSWORD);
  await tab.getByRole("button", { name: "Sign in" }).click();
  await tab.waitForURL("**/home");
  await tab.close();
  await page.getByRole("button", { name: "Send it again" }).click();
  await page.waitForURL(/\/datasets\/ds_\w+$/);
  await page.getByText("The schema is accepted").waitFor();
  await page.locator("#facts", { hasText: "300" }).waitFor(long);
  await page.goto(`${page.url()}/schema`);
  assert.equal(await page.getByLabel("What resolved is").inputValue(), "metric");
});

step("the server restarts in mid-session: the page stays, and goes on", async () => {
  await page.goto("/agents");
  await page.getByText("None yet.").waitFor();
  // A server that starts answers every request at once, with 503 and the code `starting`, until it is warm: a page that is
  // open asks again. Any other 503 is an error here as everywhere.
  const starting = [];
  const look = async (answer) => {
    if (answer.status() !== 503) return;
    const text = await answer.text().catch(() => "starting");
    starting.push(/"starting"|is starting/.test(text) ? "starting" : text);
  };
  page.on("response", look);
  await server.stop();
  await server.start();
  await server.signIn();
  await server.api("POST", "/agents/records", { records: [{ id: "after the restart", loginStatus: 4 }] });
  await page.getByText("after the restart").waitFor(long);
  page.off("response", look);
  assert.ok(starting.every((code) => code === "starting"), `503 means starting: ${starting}`);
  page.troubles = page.troubles.filter((it) => !it.startsWith("503"));
  await page.goto("/home");
  await page.getByRole("heading", { name: "What is going on" }).waitFor();
});

step("what somebody else deleted says so", async () => {
  const { items } = await server.api("GET", "/datasets?name=large");
  await page.goto(`/datasets/${items[0].id}`);
  await server.api("DELETE", `/datasets/${items[0].id}`);
  await page.getByRole("alert").filter({ hasText: "deleted by somebody else" }).waitFor();
  await page.getByRole("link", { name: "Columns", exact: true }).click();
  await page.getByText("deleted by somebody else").waitFor();
  await holds(page, "gone");
});

step("two at one record: what the connector posts meanwhile stays, and who changes the same thing is told", async () => {
  await server.api("POST", "/agents/records", { records: [{ id: "shared", loginStatus: 4, site: "Dublin" }] });
  await page.goto("/agents/records/shared");
  await server.api("PATCH", "/agents/records/shared", { loginStatus: 0 });
  await page.getByLabel("site", { exact: false }).fill("Cork");
  await page.getByRole("button", { name: "Store" }).click();
  await page.getByText("The record is stored").waitFor();
  const stored = await server.api("GET", "/agents/records/shared");
  assert.deepEqual([stored.loginStatus, stored.site], [0, "Cork"]);
  await server.api("PATCH", "/agents/records/shared", { site: "Galway" });
  await page.getByLabel("site", { exact: false }).fill("Limerick");
  await page.getByRole("button", { name: "Store" }).click();
  await page.getByRole("alert").filter({ hasText: "Somebody else changed site meanwhile" }).waitFor();
  await holds(page, "record-clash");
  await page.getByRole("button", { name: "Store" }).click();
  await page.getByText("The record is stored").waitFor();
  assert.equal((await server.api("GET", "/agents/records/shared")).site, "Limerick");
});

step("a file of the wrong kind ends in words, beside what can be done", async () => {
  await page.goto("/upload");
  await page.getByLabel("File", { exact: true }).setInputFiles(file("picture.png", Buffer.from([0x89, 0x50, 0x4e, 0x47, 0, 1, 2, 3, 0, 0, 0, 9, 0, 0])));
  await page.getByRole("button", { name: "Upload", exact: true }).click();
  await page.waitForFunction(() => document.getElementById("start").disabled === false && document.getElementById("far").textContent.length > 20, null, long);
  const told = await page.locator("#far").textContent();
  assert.match(told, /This is a picture, which holds no table/, told);
  await page.goto("/upload");
  await page.getByText("Paste a small CSV instead").click();
  await page.getByLabel("Header line first").fill("a\n");
  await page.getByLabel("What it is").last().selectOption("agents");
  await page.getByRole("button", { name: "Upload the text" }).click();
  await page.waitForLoadState();
  assert.ok(!page.url().includes("/login"));
});

step("long, right-to-left and emoji names fit and are not mistaken for markup", async () => {
  const names = ["x".repeat(190), `مجموعة بيانات ${"طويلة ".repeat(20)}`, "<script>alert(1)</script> 📦"];
  for (const name of names) {
    await page.goto("/upload");
    await page.getByText("Paste a small CSV instead").click();
    await page.locator("#paste-name").fill(name);
    await page.locator("#paste-csv").fill("agent_id,🎉 مرحبا\na1,سؤال\na2,<b>bold</b>\n");
    await page.locator("form[action='/upload/text'] input[name=accept]").check();
    await page.getByRole("button", { name: "Upload the text" }).click();
    await page.waitForURL(/\/datasets\/ds_/);
    await page.locator(".head .good").waitFor(long).catch(() => {});
  }
  await page.goto("/datasets");
  await holds(page, "strange-names");
  await page.goto("/agents/new");
  await page.getByLabel("id", { exact: true }).evaluate((it) => it.removeAttribute("maxlength"));
  await page.getByLabel("id", { exact: true }).fill("y".repeat(300));
  await page.getByRole("button", { name: "Store", exact: true }).click();
  await page.waitForLoadState();
  await holds(page, "long-id");
});

step("a dataset of 1,000 columns", async () => {
  const names = ["agent_id", ...Array.from({ length: 999 }, (_, at) => `column ${at}`)];
  const rows = Array.from({ length: 30 }, (_, row) => names.map((_, at) => (at === 0 ? `a${row % 5}` : (row * at) % 17)).join(","));
  const path = file("wide.csv", [names.join(","), ...rows].join("\n"));
  await page.goto("/upload");
  await page.getByLabel("File", { exact: true }).setInputFiles(path);
  await page.getByText("store the rows at once").first().click();
  await page.getByRole("button", { name: "Upload", exact: true }).click();
  await page.getByRole("link", { name: "Look at the dataset" }).click(long);
  await page.waitForURL(/\/datasets\/ds_/);
  const address = page.url();
  for (const part of ["/columns", "/rows"]) {
    await page.goto(address + part);
    await holds(page, `wide${part.replace("/", "-")}`);
  }
  await page.goto(`${address}/columns?name=column+998`);
  assert.equal(await page.locator("#columns-title").textContent(), "1 column");
  await page.goto(`${address}/schema`);
  assert.equal(await page.locator("select[name^='role.']").count(), 100);
  await page.getByRole("link", { name: "Next page" }).click();
  await page.waitForURL(/page=2/);
  await page.getByLabel("What column 100 is").selectOption("ignored");
  await page.getByRole("button", { name: "Change the schema" }).click();
  await page.getByText("The schema is changed.").waitFor();
  assert.match(page.url(), /page=2/, "the page is kept");
  assert.equal(await page.getByLabel("What column 100 is").inputValue(), "ignored");
  await holds(page, "wide-schema");
  await page.getByLabel("Name contains").fill("column 998");
  await page.getByRole("button", { name: "Show" }).click();
  assert.equal(await page.locator("select[name^='role.']").count(), 1);
});

step("the wizard over 1,000 columns, without JavaScript: found by name, paged, and the choice is kept", async () => {
  const { items } = await server.api("GET", "/datasets?name=wide");
  const plain = await open(browser, server.url, { javaScriptEnabled: false });
  await signIn(plain);
  await plain.goto(`/predictors/new?step=3&dataset=${items[0].id}&metric=column+0&kind=regression&goal=maximize`);
  const chosen = () => plain.locator("#chosen-so-far").textContent();
  assert.match(await chosen(), /997 fields of 997/, "all but the agent, the metric and what is ignored");
  await plain.getByRole("button", { name: "Choose none of them" }).click();
  assert.match(await chosen(), /0 fields of 997/);
  await plain.getByLabel("column 1", { exact: true }).check();
  await plain.getByRole("button", { name: "Next page" }).click();
  await plain.waitForURL(/page=2/);
  await plain.getByLabel("column 60", { exact: true }).check();
  await plain.getByLabel("Name contains").fill("column 99");
  await plain.getByRole("button", { name: "Show" }).click();
  await plain.getByLabel("column 998", { exact: true }).check();
  await plain.getByRole("button", { name: "Try the expression" }).click();
  assert.match(await chosen(), /3 fields of 997/);
  await page.goto(plain.url());
  await holds(page, "wizard-wide");
  await plain.goBack();
  assert.match(await chosen(), /2 fields of 997/, "the address has the choice");
  await plain.goForward();
  await plain.getByLabel("Name", { exact: true }).fill("few_of_many");
  await plain.getByRole("button", { name: "Create the predictor" }).click();
  await plain.waitForLoadState();
  assert.match(plain.url(), /\/predictors\/prd_/, await plain.locator("main").textContent());
  const predictor = await server.api("GET", "/predictors/few_of_many");
  assert.deepEqual(predictor.features.context, ["column 1", "column 60", "column 998"]);
});

/** Tells before the upload why the browser cannot reach the store at this address, and uploads through tango. */
async function uploadsThroughTango(store, why, name) {
  const behind = await open(browser, server.url);
  await signIn(behind);
  await behind.route("**/api/v1/uploads/object_store", async (route) => {
    const answer = await (await route.fetch()).json();
    await route.fulfill({ json: { ...answer, ...store } });
  });
  // Everything to the object store's own address fails, as behind a firewall.
  await behind.route((url) => url.host === server.s3, (route) => route.abort("connectionrefused"));
  await behind.goto("/upload");
  await behind.getByLabel("File", { exact: true }).setInputFiles(file("through.csv", calls(50)));
  await behind.locator("#probe", { hasText: why }).waitFor();
  await holds(behind, name);
  await behind.getByRole("button", { name: "Upload", exact: true }).click();
  await behind.getByRole("link", { name: "Look at its schema" }).waitFor(long);
  await behind.context().close();
}

step("the object store's port is closed for the browser: told before the upload, which goes through tango", async () => {
  // A port that nobody listens on any more.
  const port = await new Promise((done) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });
  const why = "is closed for this browser, though the server reaches it";
  await uploadsThroughTango({ url: `http://127.0.0.1:${port}` }, why, "upload-store-closed");
});

step("the object store's certificate is not trusted by the browser: told apart from a closed port", async () => {
  const [key, cert] = [file("store.key", ""), file("store.pem", "")];
  const ask = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=store"];
  execFileSync("openssl", [...ask, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert], { stdio: "pipe" });
  const store = createStore({ key: readFileSync(key), cert: readFileSync(cert) }, (_, answer) => answer.end());
  await new Promise((done) => store.listen(0, "127.0.0.1", done));
  try {
    const url = `https://127.0.0.1:${store.address().port}`;
    await uploadsThroughTango({ url, certificate: "private" }, "does not trust the certificate of", "upload-store-untrusted");
  } finally {
    store.close();
  }
});

step("with JavaScript off: sign-in, lists with sorting and filters, forms", async () => {
  const plain = await open(browser, server.url, { javaScriptEnabled: false });
  await signIn(plain);
  await plain.goto("/datasets");
  await plain.getByRole("link", { name: "Rows", exact: true }).click();
  await plain.waitForURL(/sort=/);
  await plain.getByLabel("Name contains").fill("calls");
  await plain.getByRole("button", { name: "Show" }).click();
  await plain.waitForURL(/name=calls/);
  assert.match(plain.url(), /sort=/, "the order is kept");
  await plain.locator("#list").getByRole("link", { name: "calls" }).click();
  await plain.getByRole("button", { name: "Dark" }).click();
  assert.equal(await plain.locator("html").getAttribute("data-theme"), "dark");
  await plain.goto("/customers/new");
  await plain.getByLabel("id", { exact: true }).fill("without a script");
  await plain.getByRole("button", { name: "Store", exact: true }).click();
  await plain.getByText("The record is stored").waitFor();
});
