// Chromium, and what every page is held to: `axe` finds nothing in either theme, and nothing is refused by the page's
// own security policy.

import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";

import AxeBuilder from "@axe-core/playwright";
import { chromium } from "playwright-core";

import { PASSWORD, USERNAME } from "./server.js";

const EXECUTABLES = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export async function launch() {
  const executablePath = EXECUTABLES.find((it) => it && existsSync(it));
  assert.ok(executablePath, "no Chromium: install it, or name it in CHROMIUM");
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/** A page whose errors fail the test that looks at `page.troubles`. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ baseURL: url, locale: "en-GB", timezoneId: "Europe/Berlin", viewport: { width: 1280, height: 860 }, ...options });
  context.setDefaultTimeout(30_000);
  const page = await context.newPage();
  page.troubles = [];
  page.on("pageerror", (error) => page.troubles.push(String(error)));
  page.on("response", (answer) => {
    if (answer.status() >= 500) page.troubles.push(`${answer.status()} ${answer.url()}`);
  });
  page.on("console", (message) => {
    if (message.type() === "error" && /Content Security Policy|Uncaught/.test(message.text())) page.troubles.push(message.text());
  });
  return page;
}

export async function signIn(page) {
  await page.goto("/login");
  await page.getByLabel("Username").fill(USERNAME);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL("**/home");
}

const SHOTS = process.env.TANGO_SCREENSHOTS;

/**
 * Holds the page to `axe` in both themes; takes a picture of each when `TANGO_SCREENSHOTS` names a folder. `TANGO_AXE=0` leaves
 * axe out, for whoever works on a journey.
 */
export async function holds(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    if (process.env.TANGO_AXE === "0" && !SHOTS) continue;
    // All but the contrast is the same in both themes.
    const axe = new AxeBuilder({ page });
    const { violations } = process.env.TANGO_AXE === "0" ? { violations: [] } : await (colorScheme === "dark" ? axe.withRules(["color-contrast"]) : axe).analyze();
    const told = violations.map((it) => `${it.id}: ${it.help}\n${it.nodes.slice(0, 4).map((node) => `    ${node.html.slice(0, 160)}\n      ${node.failureSummary?.replaceAll("\n", " ").slice(0, 240)}`).join("\n")}`);
    assert.equal(violations.length, 0, `axe on ${name} (${colorScheme}, ${page.url()}):\n${told.join("\n")}`);
    if (SHOTS) {
      mkdirSync(SHOTS, { recursive: true });
      await page.screenshot({ path: join(SHOTS, `${name}-${colorScheme}.png`), fullPage: true });
    }
  }
  await page.emulateMedia({ colorScheme: "light" });
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(wider <= 0, `${name} is ${wider} pixels wider than the window`);
  assert.deepEqual(page.troubles, [], `errors on ${name}`);
}
