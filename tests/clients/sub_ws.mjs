// Subscriber on node's `ws`: URL LAST OUT ACK_EVERY.
import { closeSync, openSync, writeSync } from "node:fs";
import { note, run, violation } from "./ws_client.mjs";

const [url, last, out, ackEvery] = process.argv.slice(2);
const file = openSync(out, "w");
let position = 0;
let epoch = null;
let attached = false;

const done = () => position >= Number(last);

await run(url, {
  done,
  opening() {
    attached = false;
    const from = epoch === null ? `${position}` : `${position}@${epoch}`;
    note(`from ${from}`);
    return [`RESUME_FROM:${from}`];
  },
  receive(text) {
    if (!attached) return attach(text);
    const colon = text.indexOf(":");
    const number = Number(text.slice(0, colon));
    if (colon < 1 || !Number.isSafeInteger(number)) violation(`at ${position}: ${text.slice(0, 200)}`);
    writeSync(file, `${text}\n`);
    position = number;
    return position % Number(ackEvery) === 0 || done() ? [`ACK:${position}`] : [];
  },
});

function attach(text) {
  if (text === "RESUME_FROM:0") return [];
  const found = /^RESUMED:(\d+):(\d+)@(\S+)$/.exec(text);
  if (!found || Number(found[1]) !== position || (epoch !== null && found[3] !== epoch)) {
    violation(`asked for ${position}@${epoch}, answered ${text.slice(0, 200)}`);
  }
  attached = true;
  epoch = found[3];
  return position ? [`ACK:${position}`] : [];
}

closeSync(file);
note(`done at ${position}`);
