// What the journey uploads: lecturers rated by students when that file is there, else calls made here.

import { existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const shared = process.env.TANGO_TEST_DATA ?? resolve(import.meta.dirname, "../../../shared/data");
const folder = mkdtempSync(join(tmpdir(), "tango-browser-data-"));

/** Numbers that are the same in every run (a linear congruential generator, Numerical Recipes). */
export function dice(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

export function file(name, text) {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** Calls whose outcome depends on who takes what; one value of the wrong type among them. */
export function calls(rows = 1500) {
  const next = dice(7);
  const reasons = ["billing", "technical", "cancel", "سؤال", "order 📦"];
  const lines = ["call_time,customer_id,agent_id,reason,language,age,waited_s,premium,resolved"];
  for (let row = 0; row < rows; row += 1) {
    const day = new Date(Date.UTC(2026, 0, 1) + Math.floor((row / rows) * 90 * 86400) * 1000).toISOString();
    const agent = Math.floor(next() * 12);
    const reason = Math.floor(next() * reasons.length);
    const age = 18 + Math.floor(next() * 60);
    const premium = next() < 0.3;
    const chance = 0.35 + (agent % reasons.length === reason ? 0.4 : 0) + (premium ? 0.1 : 0);
    lines.push([day, `c-${Math.floor(next() * 500)}`, `agent-${agent}`, reasons[reason], next() < 0.5 ? "de" : "en", age, Math.floor(next() * 300), premium, next() < chance].join(","));
  }
  return lines.join("\n");
}

export function agents(count = 12) {
  const lines = ["agent_id,loginStatus,team,seniority,groups"];
  for (let agent = 0; agent < count; agent += 1) lines.push(`agent-${agent},${agent % 3 === 0 ? 0 : 4},team ${agent % 4},${agent % 7},`);
  return lines.join("\n");
}

/** What the journey works on. */
export function dataset() {
  const insteval = join(shared, "insteval.csv.gz");
  if (existsSync(insteval) && process.env.TANGO_BROWSER_SMALL !== "1") {
    return {
      name: "insteval", path: insteval, rows: 73_421, time: null,
      roles: { lecturer_id: "agent_id", student_id: "customer_id", rating: "metric" },
      metric: "rating", positive: "5", score: { department: "2", student_age: "2" }, agents: "1002, 1050, 6", typed: { department: 2, student_age: 2 }, success: 5, failure: 1,
    };
  }
  console.log(`insteval.csv.gz is not used (${existsSync(insteval) ? "TANGO_BROWSER_SMALL is set" : `${insteval} is not there`}): the journey goes over calls made here`);
  return {
    name: "calls", path: file("calls.csv", calls()), rows: 1500, time: "call_time",
    roles: { call_time: "timestamp", agent_id: "agent_id", customer_id: "customer_id", resolved: "metric" },
    metric: "resolved", positive: "true", score: { reason: "billing", age: "42" }, agents: "agent-1, agent-2", typed: { reason: "billing", age: 42 }, success: true, failure: false,
  };
}
