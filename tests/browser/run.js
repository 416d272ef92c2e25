// Runs every `*.test.js` here, or those that are named: `npm test`, `npm test journey`.

import { readdirSync } from "node:fs";
import { join } from "node:path";

const wanted = process.argv.slice(2);
const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith(".test.js")).filter((name) => wanted.length === 0 || wanted.some((it) => name.startsWith(it)));
if (files.length === 0) throw new Error(`no test is called ${wanted.join(", ")}`);

for (const name of files) {
  const started = Date.now();
  console.log(`${name}`);
  const { steps, end } = await import(join(import.meta.dirname, name));
  // Whoever is told to stop leaves no server and no browser behind.
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => end().finally(() => process.exit(1)));
  try {
    for (const [words, work] of steps) {
      const begun = Date.now();
      try {
        await work();
      } catch (error) {
        console.log(`  FAILED ${words}\n${error.stack ?? error}`);
        process.exitCode = 1;
        break;
      }
      console.log(`  ok ${words} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
    }
  } finally {
    await end();
  }
  console.log(`${name}: ${process.exitCode ? "failed" : "passed"} in ${((Date.now() - started) / 1000).toFixed(0)} s`);
}
