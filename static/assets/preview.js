// The first 200 rows of a chosen file, read here before and while it is sent: nothing waits for the server.

import { grouped } from "./figures.js";
import { t } from "./texts.js";

const ROWS = 200;
const COLUMNS = 50;
/** So much of the file's beginning holds that many rows of all but very wide files. */
const BYTES = 512 * 1024;

const card = document.getElementById("preview");
const table = document.getElementById("preview-table");
const count = document.getElementById("preview-count");
let latest = null;

export function unpreview() {
  latest = null;
  card.hidden = true;
}

export async function preview(file) {
  latest = file;
  let text;
  try {
    text = await beginning(file);
  } catch {
    text = null;
  }
  if (latest !== file) return;
  const rows = text === null ? [] : parsed(file.name, text);
  card.hidden = false;
  if (rows.length === 0) {
    table.replaceChildren();
    count.textContent = t("This kind of file cannot be shown before it was read.");
    return;
  }
  show(rows);
}

async function beginning(file) {
  const slice = file.slice(0, BYTES);
  const start = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  // Parquet and zip are not read here.
  if ((start[0] === 0x50 && start[1] === 0x41) || (start[0] === 0x50 && start[1] === 0x4b)) return null;
  if (start[0] === 0x1f && start[1] === 0x8b) return unzipped(slice);
  const text = new TextDecoder(encoding(start)).decode(await slice.arrayBuffer(), { stream: true });
  return text.includes("\u0000") ? null : text;
}

function encoding(start) {
  const chosen = document.getElementById("encoding").value;
  if (chosen) return chosen;
  return start[0] === 0xff && start[1] === 0xfe ? "utf-16le" : start[0] === 0xfe && start[1] === 0xff ? "utf-16be" : "utf-8";
}

/** The slice ends in the middle of the stream: what came out before that counts. */
async function unzipped(slice) {
  const reader = slice.stream().pipeThrough(new DecompressionStream("gzip")).getReader();
  const decoder = new TextDecoder();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done || text.length > BYTES) break;
      text += decoder.decode(value, { stream: true });
    }
  } catch {
    // Cut off.
  }
  reader.cancel().catch(() => {});
  return text;
}

function parsed(name, text) {
  if (text.trimStart().startsWith("{")) return lines(text);
  const first = text.slice(0, text.indexOf("\n") >>> 0);
  const separators = [",", ";", "\t", "|"];
  const chosen = { tab: "\t" }[document.getElementById("separator").value] ?? document.getElementById("separator").value;
  const separator = chosen || separators.reduce((best, it) => (first.split(it).length > first.split(best).length ? it : best));
  return delimited(text, separator);
}

/** NDJSON: a column for each name that the first rows have. */
function lines(text) {
  const found = [];
  for (const line of text.split("\n").slice(0, ROWS)) {
    try {
      found.push(JSON.parse(line));
    } catch {
      break;
    }
  }
  const names = [...new Set(found.flatMap((it) => Object.keys(it)))];
  const cell = (value) => (value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));
  return found.length === 0 ? [] : [names, ...found.map((it) => names.map((name) => cell(it[name])))];
}

function delimited(text, separator) {
  const rows = [];
  let row = [];
  let cell = "";
  let quoted = false;
  for (let at = 0; at < text.length && rows.length <= ROWS; at += 1) {
    const letter = text[at];
    if (quoted) {
      if (letter !== '"') cell += letter;
      else if (text[at + 1] === '"') {
        cell += '"';
        at += 1;
      } else quoted = false;
    } else if (letter === '"' && cell === "") quoted = true;
    else if (letter === separator) {
      row.push(cell);
      cell = "";
    } else if (letter === "\n") {
      row.push(cell.replace(/\r$/, ""));
      rows.push(row);
      row = [];
      cell = "";
    } else cell += letter;
  }
  // A last line without an end; a cut-off one is left out.
  if (!quoted && text.length < BYTES && (cell || row.length > 0)) rows.push([...row, cell]);
  return rows;
}

function show(rows) {
  const [names, ...values] = rows;
  const shown = names.slice(0, COLUMNS);
  const head = document.createElement("thead");
  head.append(line("th", shown));
  const body = document.createElement("tbody");
  for (const row of values.slice(0, ROWS)) body.append(line("td", shown.map((_, index) => row[index] ?? "")));
  table.replaceChildren(head, body);
  table.parentElement.tabIndex = 0;
  const rest = names.length - shown.length;
  count.textContent = t("{n} rows of {m} columns", { n: grouped(Math.min(values.length, ROWS)), m: grouped(names.length) }) + (rest > 0 ? t(", the first {n} of them", { n: shown.length }) : "");
}

function line(tag, cells) {
  const row = document.createElement("tr");
  for (const text of cells) {
    const cell = document.createElement(tag);
    cell.dir = "auto";
    cell.textContent = text;
    row.append(cell);
  }
  return row;
}
