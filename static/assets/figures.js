// Numbers as a person reads them.

import { locale } from "./locale.js";
import { t } from "./texts.js";

export function size(bytes) {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? bytes : bytes.toLocaleString(locale, { minimumFractionDigits: 1, maximumFractionDigits: 1 })} ${units[unit]}`;
}

export function grouped(number) {
  return number.toLocaleString(locale);
}

/** `12.1 MB of 43.5 MB, 245,760 rows read`, from a job's progress. */
export function far({ done, total, unit, phase }) {
  const amount = (number) => (unit === "bytes" ? size(number) : grouped(number));
  const after = unit && unit !== "bytes" ? ` ${unit}` : "";
  const parts = [];
  if (total) parts.push(t("{done} of {total}", { done: amount(done), total: amount(total) }) + after);
  else if (done > 0) parts.push(`${amount(done)}${after}`);
  if (phase) parts.push(phase.replace(/^\d+/, (digits) => grouped(Number(digits))));
  return parts.join(", ");
}
