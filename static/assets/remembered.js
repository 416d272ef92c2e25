// Uploads that were begun in this browser and are not complete, so that they go on after a reload.

import { api } from "./api.js";

const KEY = "tango.uploads";
const MOST = 20;

function read() {
  try {
    const kept = JSON.parse(window.localStorage.getItem(KEY));
    return Array.isArray(kept) ? kept : [];
  } catch {
    return [];
  }
}

function write(kept) {
  try {
    window.localStorage.setItem(KEY, JSON.stringify(kept.slice(-MOST)));
  } catch {
    // Without a storage an upload cannot go on after a reload; everything else works.
  }
}

export function remember(upload) {
  const { id, target, accept, file } = upload;
  write([...read().filter((it) => it.id !== id), { id, target, accept, name: file.name, size: file.size, modified: file.lastModified }]);
}

export function forget(id) {
  write(read().filter((it) => it.id !== id));
}

/** Those that the server still waits for, newest first. */
export async function unfinished() {
  const kept = read();
  if (kept.length === 0) return [];
  const list = await api("GET", "/api/v1/uploads?state=receiving&sort=-created_at&limit=500");
  const waiting = new Set(list.items.map((it) => it.id));
  return kept.filter((it) => waiting.has(it.id)).reverse();
}

/** Whether this is the file, unchanged, that the upload was begun with. */
export function isSame(kept, file) {
  return kept.name === file.name && kept.size === file.size && kept.modified === file.lastModified;
}
