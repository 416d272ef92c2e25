// From sign-in to scores, as a person goes: upload, schema, profiles, predictor, training, reports, activation, playground.
// Each page on the way is held to `axe` in both themes.

import assert from "node:assert/strict";

import { holds, launch, open, signIn } from "./browser.js";
import { agents, dataset, dice, file } from "./data.js";
import { Server, USERNAME } from "./server.js";

const server = new Server();
const data = dataset();
let browser;
let page;
const ids = {};

/** A job's end, seen on the page itself: nothing is reloaded. */
const long = { timeout: 300_000 };

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
});

step("sign in", async () => {
  await page.goto("/login");
  await holds(page, "login");
  await page.getByLabel("Username").fill(USERNAME);
  await page.getByLabel("Password").fill("wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor();
  assert.match(await page.getByRole("alert").textContent(), /username or the password is wrong/);
  await signIn(page);
  await holds(page, "home-empty");
});

step("empty pages say what to do first", async () => {
  for (const path of ["datasets", "predictors", "agents", "customers", "reports", "playground", "jobs", "settings"]) {
    await page.goto(`/${path}`);
    await holds(page, `${path}-empty`);
  }
});

step("upload a file by keyboard alone, and look at its first rows", async () => {
  await page.goto("/upload");
  await holds(page, "upload");
  await page.getByLabel("File", { exact: true }).setInputFiles(data.path);
  await page.locator("#preview-table tbody tr").first().waitFor();
  await holds(page, "upload-preview");
  await page.getByLabel("Name of the dataset").focus();
  await page.keyboard.type(data.name);
  await tabTo(page, "start");
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "Look at its schema" }).waitFor(long);
  await tabTo(page, null, "Look at its schema");
  await page.keyboard.press("Enter");
  await page.waitForURL("**/datasets/*/schema");
  ids.dataset = page.url().split("/").at(-2);
});

step("say what each column is, and accept", async () => {
  await holds(page, "schema-waiting");
  for (const [field, role] of Object.entries(data.roles)) {
    await page.getByLabel(`What ${field} is`).selectOption(role);
  }
  await page.getByRole("button", { name: "Accept and store the rows" }).click();
  await page.waitForURL(`**/datasets/${ids.dataset}`);
  // The page changes by itself once the rows are stored.
  await page.locator("#facts", { hasText: data.rows.toLocaleString("en") }).waitFor(long);
  await page.reload();
  await holds(page, "dataset");
});

step("look at columns, rows, schema and versions", async () => {
  await page.goto(`/datasets/${ids.dataset}/columns?target=${data.metric}`);
  await holds(page, "columns");
  await page.goto(`/datasets/${ids.dataset}/columns/${data.metric}`);
  await holds(page, "column");
  await page.goto(`/datasets/${ids.dataset}/rows`);
  await page.getByLabel("Filter", { exact: true }).fill(`${data.metric} = ${data.positive}`);
  await page.getByRole("button", { name: "Show" }).click();
  await page.locator("tbody tr").first().waitFor();
  assert.match(page.url(), /filter=/, "the filter is in the address");
  await holds(page, "rows");
  await page.getByRole("link", { name: "Next page" }).click();
  await page.waitForURL(/after=/);
  await page.goBack();
  assert.doesNotMatch(page.url(), /after=/);
  await page.getByLabel("Filter", { exact: true }).fill("nonsense >");
  await page.getByRole("button", { name: "Show" }).click();
  await page.getByRole("alert").waitFor();
  await holds(page, "rows-refused");
  for (const part of ["schema", "versions"]) {
    await page.goto(`/datasets/${ids.dataset}/${part}`);
    await holds(page, part);
  }
  await page.goto("/datasets");
  await holds(page, "datasets");
});

step("agents: upload, filter, change one, accept the schema", async () => {
  await page.goto("/upload?target=agents");
  await page.getByLabel("File", { exact: true }).setInputFiles(file("agents.csv", agents()));
  await page.getByRole("button", { name: "Upload", exact: true }).click();
  await page.getByRole("link", { name: "Look at them" }).click(long);
  await page.waitForURL("**/agents");
  await page.getByLabel("Filter", { exact: true }).fill("loginStatus != 0");
  await page.getByRole("button", { name: "Show" }).click();
  await page.waitForURL(/filter=/);
  assert.equal(await page.locator("#records tbody tr").count(), 8);
  await holds(page, "agents");
  await page.getByRole("link", { name: "agent-1", exact: true }).click();
  await page.getByLabel(/^skills/).fill("English = 5\nBilling = 3");
  await page.getByRole("button", { name: "Store", exact: true }).click();
  await page.getByText("The record is stored").waitFor();
  await holds(page, "agent");
  await page.goto("/agents/schema");
  await holds(page, "agents-schema");
  await page.getByRole("button", { name: /^(Accept|Change) the schema/ }).click();
  await page.getByText("schema accepted").waitFor();
  await page.goto("/agents/values");
  await page.getByRole("button", { name: "Count anew" }).click();
  await page.locator("#values table").waitFor(long);
  await holds(page, "agents-values");
  await page.goto("/customers/new");
  await page.getByLabel("id", { exact: true }).fill("c-1");
  await page.getByRole("button", { name: "Store", exact: true }).click();
  await page.getByText("The record is stored").waitFor();
  await page.goto("/customers");
  await holds(page, "customers");
});

step("an agent's login state changes on the page while one looks", async () => {
  await page.goto("/agents?filter=loginStatus%3D0");
  const before = await page.locator("#records tbody tr").count();
  await server.api("PATCH", "/agents/records/agent-0", { loginStatus: 4 });
  await page.waitForFunction((count) => document.querySelectorAll("#records tbody tr").length === count - 1, before);
});

step("the wizard, by keyboard alone", async () => {
  await page.goto("/predictors/new");
  await page.locator("#dataset").focus();
  await page.keyboard.press("ArrowDown");
  if (!page.url().includes("dataset=")) await page.waitForURL(/dataset=/);
  let from = null;
  if (data.time) {
    await page.locator("#slide-from").focus();
    for (let step = 0; step < 10; step += 1) await page.keyboard.press("ArrowRight");
    from = await page.locator("#from").inputValue();
    const [first, chosen] = [await page.locator("#from").getAttribute("placeholder"), from].map((it) => Date.parse(it) / 86_400_000);
    assert.equal(chosen - first, 10, `a step is a day: ${from}`);
  }
  await holds(page, "wizard-1");
  await tabTo(page, null, "Next: the outcome");
  await page.keyboard.press("Enter");
  await page.waitForURL(/step=2/);
  await page.locator("#metric").selectOption(data.metric);
  await page.waitForURL(new RegExp(`metric=${data.metric}`));
  await page.locator("#spread-title ~ figure, .card figure").first().waitFor();
  await page.getByLabel("the probability of one value").focus();
  await page.keyboard.press("Space");
  await page.getByLabel("The value that counts as success").fill(data.positive);
  await holds(page, "wizard-2");
  await tabTo(page, null, "Next: features");
  await page.keyboard.press("Enter");
  await page.waitForURL(/step=3/);
  await holds(page, "wizard-3");
  await page.getByLabel("Name", { exact: true }).fill("1 wrong name");
  await tabTo(page, null, "Create the predictor");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").waitFor();
  await page.getByLabel("Name", { exact: true }).fill("best_agent");
  await page.getByLabel("Score expression (optional)").fill("1000 * p_score");
  await tabTo(page, null, "Create the predictor");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/predictors\/prd_/);
  ids.predictor = page.url().split("/").at(-1);
  await page.getByText("The predictor is there").waitFor();
  // The period that the slider chose is the predictor's.
  if (from) await page.locator("dd", { hasText: from }).waitFor();
});

step("train two models and see them become ready by themselves", async () => {
  for (const [name, type] of [["hybrid", "HYBRID"], ["disjoint", "DISJOINT"]]) {
    await page.goto(`/predictors/${ids.predictor}/models`);
    if (type === "HYBRID") await holds(page, "model-new");
    await page.getByLabel("Name", { exact: true }).fill(name);
    await page.getByLabel(new RegExp(type)).check();
    await page.getByText("Settings", { exact: true }).last().click();
    await page.getByLabel("Trees at most").fill("40");
    await page.getByLabel("Held back", { exact: true }).selectOption("random");
    await page.getByRole("button", { name: "Train" }).click();
    await page.waitForURL(/\/models\/mdl_/);
    ids[name] = page.url().split("/").at(-1);
    if (type === "HYBRID") await holds(page, "model-training");
    await page.locator("#now", { hasText: "Trained, and answers no scores." }).waitFor(long);
  }
});

step("quality, agents, card; compare; activate by share, and back", async () => {
  await page.goto(`/models/${ids.hybrid}`);
  await holds(page, "model");
  for (const part of ["agents", "card"]) {
    await page.goto(`/models/${ids.hybrid}/${part}`);
    await holds(page, `model-${part}`);
  }
  await page.goto(`/predictors/${ids.predictor}`);
  await page.getByRole("button", { name: "Compare side by side" }).click();
  await page.waitForURL(/compare/);
  await holds(page, "compare");
  await page.goto(`/models/${ids.disjoint}`);
  await page.getByRole("button", { name: "Activate" }).click();
  await page.getByText("The model answers scores now.").waitFor();
  await page.goto(`/models/${ids.hybrid}`);
  await page.getByLabel("Share of the scores, in %").fill("40");
  await page.getByRole("button", { name: "Activate" }).click();
  await page.getByText("Answers 40").waitFor();
  await page.getByLabel("Share of the scores, in %").fill("100");
  await page.getByRole("button", { name: "Change the share" }).click();
  await page.getByText("Answers all scores").waitFor();
  await page.goto(`/predictors/${ids.predictor}`);
  await holds(page, "predictor");
  await page.getByRole("button", { name: "Back to disjoint" }).click();
  await page.getByText("Answers all scores").waitFor();
});

step("the live models take turns: by periods with off in between, two by the hour, by share again", async () => {
  await page.goto(`/predictors/${ids.predictor}`);
  const turns = async (choose, said) => {
    await page.getByText("Let the live models take turns").click();
    await choose();
    await page.getByRole("button", { name: "Take turns like this" }).click();
    await page.locator("#turns", { hasText: said }).waitFor();
  };
  await turns(async () => {
    await page.getByLabel("by periods of these lengths").check();
    await page.getByLabel("Lengths of the periods").fill("2 h, 1 h");
  }, "disjoint 2 h, off 1 h");
  assert.ok((await page.locator("svg.turns rect.off").count()) >= 7, "the day has its turns");
  await page.goto(`/models/${ids.hybrid}`);
  await page.getByText("shares do not count now").waitFor();
  await page.getByLabel("Share of the scores, in %").fill("50");
  await page.getByRole("button", { name: "Activate" }).click();
  await page.getByText("Answers 50").waitFor();
  await page.goto(`/predictors/${ids.predictor}`);
  await turns(() => page.getByLabel("hour by hour").check(), "An hour each, in this order");
  assert.equal(await page.locator("svg.turns rect").count(), 24);
  await page.getByText("Let the live models take turns").click();
  await holds(page, "predictor-turns");
  await page.getByText("Let the live models take turns").click();
  await turns(() => page.getByLabel("by share").check(), "Each interaction meets one of them");
  await page.getByRole("button", { name: "Activate hybrid alone" }).waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Deactivate hybrid" }).click();
  await page.getByText("Its scores come from disjoint then.").waitFor();
  await holds(page, "sure");
  await page.getByRole("button", { name: "Yes, deactivate it" }).click();
  await page.locator("#turns", { hasText: "disjoint answers all scores." }).waitFor();
});

step("reports, each as a page, CSV and for printing", async () => {
  const subjects = [["lift_estimation", `model:${ids.hybrid}`], ["feature_analysis", `predictor:${ids.predictor}`], ["agent_variance", `predictor:${ids.predictor}`], ["model_quality", `model:${ids.hybrid}`], ["agent_coverage", `model:${ids.hybrid}`]];
  for (const [kind, subject] of subjects) {
    await page.goto("/reports");
    await page.locator("#kind").selectOption(kind);
    await page.getByLabel("About").selectOption(subject);
    await page.getByRole("button", { name: "Make the report" }).click();
    await page.waitForURL(/\/reports\/rep_/);
    await page.locator("#content-of-report .card h2").first().waitFor(long);
    await page.locator("#state .good").waitFor(long);
    await page.reload();
    await holds(page, `report-${kind}`);
    const csv = await page.request.get(`${page.url()}/csv`);
    assert.ok(csv.ok() && (await csv.text()).split("\n").length > 2, `${kind} as CSV`);
    await page.goto(`${page.url()}/print`);
    await holds(page, `print-${kind}`);
    assert.equal(await page.locator("script, link[rel=stylesheet], img").count(), 0, "needs nothing else");
  }
  await page.goto("/reports");
  await holds(page, "reports");
  await page.goto(`/predictors/${ids.predictor}/production`);
  await holds(page, "production-empty");
});

step("in production: lift, calibration, inputs, and who served, from scores and what became of them", async () => {
  const next = dice(11);
  const agents = data.agents.split(", ");
  for (let call = 0; call < 240; call += 1) {
    const answer = call < 60 ? await server.api("POST", "/predictors/best_agent/score", { context: data.typed, agents }) : null;
    const best = answer?.scores[0];
    const mode = call % 2 ? "on" : "off";
    const agent_id = best?.agent_id ?? (call % 9 === 0 ? "a new agent" : agents[call % agents.length]);
    await server.api("POST", "/score_log", {
      interaction_id: `call-${call}`, predictor: "best_agent", agent_id, mode, outcome: "routed", metric: next() < (mode === "on" ? 0.75 : 0.4) ? data.success : data.failure,
      ...(best ? { p_score: best.p_score, request_id: answer.request_id, model_id: answer.model.id } : {}),
    });
  }
  // What servers count is written every few seconds.
  for (let asked = 0; asked < 120; asked += 1) {
    const production = await server.api("GET", "/predictors/best_agent/production");
    if (production.agent_drift) break;
    await new Promise((done) => setTimeout(done, 250));
  }
  await page.goto(`/predictors/${ids.predictor}/production`);
  await page.getByRole("heading", { name: "Who served, against who served in the training data" }).waitFor();
  await page.getByRole("heading", { name: /^Inputs of/ }).waitFor();
  assert.match(await page.locator("section", { has: page.locator("#served-title") }).textContent(), /1, with/, "one agent is new");
  await holds(page, "production");
  const csv = await (await page.request.get(`/predictors/${ids.predictor}/production?as=csv`)).text();
  assert.match(csv, /agent_drift\.psi/);
  await page.goto(`/predictors/${ids.predictor}/production?as=print`);
  await page.getByRole("heading", { name: "Who served, against who served in the training data" }).waitFor();
  await holds(page, "print-production");
});

step("score playground: validation while typing, reasons, curl", async () => {
  await page.goto("/playground");
  await holds(page, "playground");
  await page.getByLabel("A filter over the agent profile").fill("loginStatus >");
  await page.locator("#filter-said.error").waitFor();
  await page.getByLabel("A filter over the agent profile").fill("");
  for (const [name, value] of Object.entries(data.score)) await page.getByLabel(name, { exact: true }).fill(value);
  await page.getByLabel("or agents' ids, separated by commas").fill(data.agents);
  await page.getByRole("button", { name: "Score", exact: true }).click();
  await page.locator("#answer-title").waitFor();
  await page.getByText("Why", { exact: true }).first().click();
  await holds(page, "playground-scored");
  assert.match(await page.locator("#curl").textContent(), /best_agent\/score/);
  assert.match(page.url(), /score=yes/, "the request is in the address");
});

step("jobs and home", async () => {
  await page.goto("/jobs");
  await holds(page, "jobs");
  await page.locator("#list tbody a").first().click();
  await page.waitForURL(/\/jobs\/job_/);
  await page.locator("#log", { hasText: "taken by a worker" }).waitFor();
  await holds(page, "job");
  const { items } = await server.api("GET", "/jobs?topic=model_training&limit=1");
  await page.goto(`/jobs/${items[0].id}`);
  await page.locator("#job figure").first().waitFor();
  await holds(page, "job-training");
  await page.goto("/home");
  await holds(page, "home");
});

step("settings: a user is added, given a password, and removed", async () => {
  await page.goto("/settings");
  await page.getByText("Add a user", { exact: true }).click();
  await page.locator("#new-username").fill("ana@example.com");
  await page.locator("#user-password").fill("short");
  await page.getByRole("button", { name: "Add the user" }).click();
  await page.locator("#user-refused").waitFor();
  assert.equal(await page.locator("#new-username").inputValue(), "ana@example.com", "what was typed is kept");
  await page.locator("#user-password").fill("long enough for ana");
  await page.getByRole("button", { name: "Add the user" }).click();
  await page.getByText("ana@example.com can sign in now.").waitFor();
  await holds(page, "settings");
  await page.getByText("New password", { exact: true }).last().click();
  await page.getByLabel("New password for ana@example.com").last().fill("another one for ana");
  await page.getByRole("button", { name: "Set the password" }).click();
  await page.getByText("The password is set").waitFor();
  await page.getByText("Remove", { exact: true }).click();
  await page.getByRole("button", { name: "Yes, remove ana@example.com" }).click();
  await page.getByText("The user is removed").waitFor();
});

step("phone and 200 %: nothing is cut off, the menu opens", async () => {
  const pages = ["/home", "/upload", "/datasets", `/datasets/${ids.dataset}`, `/datasets/${ids.dataset}/columns`, `/datasets/${ids.dataset}/rows`, "/agents", `/predictors/${ids.predictor}`, `/models/${ids.hybrid}`, "/reports", "/playground", "/jobs", "/settings", "/predictors/new"];
  for (const viewport of [{ width: 375, height: 740 }, { width: 640, height: 430 }]) {
    await page.setViewportSize(viewport);
    for (const path of pages) {
      await page.goto(path);
      await holds(page, `at-${viewport.width}${path.replaceAll("/", "-").replace(/(ds|prd|mdl)_\w+/, "$1")}`);
    }
    await page.getByRole("button", { name: "Menu" }).click();
    await page.locator("#side").getByRole("link", { name: "Jobs" }).waitFor();
    await page.keyboard.press("Escape");
  }
  await page.setViewportSize({ width: 1280, height: 860 });
});

step("German, by the setting: nothing of any page is left in English", async () => {
  await page.goto("/settings");
  await page.getByLabel("Language").selectOption("de");
  await page.getByRole("button", { name: "Keep for this browser" }).click();
  await page.getByRole("heading", { level: 1, name: "Einstellungen" }).waitFor();
  await holds(page, "settings-german");
  const catalogue = await (await page.request.get("/texts/de")).json();
  const dataset = `/datasets/${ids.dataset}`;
  const predictor = `/predictors/${ids.predictor}`;
  const model = `/models/${ids.hybrid}`;
  const paths = ["/home", "/upload", "/datasets", dataset, `${dataset}/columns?target=${data.metric}`, `${dataset}/columns/${data.metric}`, `${dataset}/rows`, `${dataset}/schema`, `${dataset}/versions`, "/agents", "/agents/new", "/agents/schema", "/agents/values", "/customers/values", "/predictors", "/predictors/combine", "/predictors/new", ...[1, 2, 3].map((step) => `/predictors/new?step=${step}&dataset=${ids.dataset}&metric=${data.metric}`), predictor, `${predictor}/models`, `${predictor}/production`, model, `${model}/agents`, `${model}/card`, "/reports", "/playground", "/jobs", "/settings", "/nothing-here"];
  const reports = (await server.api("GET", "/reports")).items.map((it) => `/reports/${it.id}`);
  const jobs = (await server.api("GET", "/jobs?limit=60")).items;
  const kinds = [...new Map(jobs.map((it) => [it.kind, `/jobs/${it.id}`])).values()];
  const left = [];
  for (const path of [...paths, ...reports, ...kinds]) {
    await page.goto(path);
    for (const text of await page.evaluate(english, catalogue)) left.push(`${path}: ${text}`);
  }
  assert.deepEqual([...new Set(left)], []);
});

/** Texts of a page that is in German which its catalogue would say otherwise, or which have words of English. Runs in the page. */
function english(catalogue) {
  const data = "code, pre, textarea, script, style, option[lang], .cell, .tag, a.leaf, [dir=auto]";
  // What somebody, or the program in the person's name, called things.
  const names = ["All features"];
  const words = /\b(the|of|and|are|with|from|which|were|than|this|these|that|is|it|by|for|to|has|have)\b/i;
  const wrong = (text) => text !== "" && !names.some((name) => text.includes(name)) && ((Object.hasOwn(catalogue, text) && catalogue[text] !== text) || words.test(text));
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const inside = walker.currentNode.parentElement;
    // A long name may be broken, and what a chart has no room for ends early.
    if (wrong(text) && !inside.closest(data) && !inside.querySelector("wbr") && !text.endsWith("…")) found.push(text);
  }
  for (const name of ["aria-label", "title", "placeholder", "alt"]) {
    for (const it of document.querySelectorAll(`[${name}]`)) if (wrong(it.getAttribute(name).trim()) && !it.closest(data)) found.push(`${name}: ${it.getAttribute(name)}`);
  }
  return found;
}

/** Goes on by the tabulator key until that element has the focus. */
async function tabTo(page, id, words) {
  for (let presses = 0; presses < 400; presses += 1) {
    await page.keyboard.press("Tab");
    const here = await page.evaluate(() => [document.activeElement?.id, document.activeElement?.textContent.trim()]);
    if (id ? here[0] === id : here[1] === words) return;
  }
  assert.fail(`the tabulator key does not reach ${id ?? words}`);
}
