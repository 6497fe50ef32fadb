// What pytest exported from torch (tests/test_widgets.py writes it and names it in GENTUT_JS_FIXTURE).
import { readFileSync } from "node:fs";

const path = process.env.GENTUT_JS_FIXTURE;
if (!path) throw new Error("run these tests through pytest tests/test_widgets.py, which exports what torch computed");
export const fixture = JSON.parse(readFileSync(path, "utf8"));

// Bytes as a host may give them: somewhere inside a bigger buffer, as the view that `type` makes.
export function bytes(base64, type = DataView) {
  const raw = Buffer.from(base64, "base64"), buffer = new ArrayBuffer(raw.length + 5);
  new Uint8Array(buffer).set(raw, 3);
  return new type(buffer, 3, raw.length);
}

export const largest = (a, b) => a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i])), 0);
