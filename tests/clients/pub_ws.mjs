// Publisher on node's `ws`, with SESSION: URL FILE WINDOW.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { note, run, violation } from "./ws_client.mjs";

const [url, path, window] = process.argv.slice(2);
const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
let secret = "";
let attachNumber = 0;
let answered = false;
let attached = false;
let acked = 0;
let sent = 0;
let next = 1;

await run(url, {
  done: () => acked === lines.length,
  opening() {
    if (!answered) {
      // Nobody ever answered under the old secret, so nothing was published under it.
      secret = randomBytes(24).toString("base64url");
      attachNumber = 0;
    }
    attachNumber += 1;
    attached = false;
    note(`attach ${attachNumber}, ${acked} acknowledged`);
    return [`SESSION:${secret}:${attachNumber}`, "RESUME_FROM:none"];
  },
  receive(text) {
    const found = (attached ? /^ACK:(\d+)$/ : /^RESUME_FROM:(\d+)$/).exec(text);
    const count = found ? Number(found[1]) : -1;
    if (count < acked || count > sent) violation(`${acked} acknowledged, ${sent} sent, answered ${text.slice(0, 200)}`);
    acked = count;
    if (!attached) {
      attached = answered = true;
      next = acked + 1;
    }
    const messages = [];
    for (; next <= Math.min(acked + Number(window), lines.length); next += 1) {
      messages.push(`${next}:${lines[next - 1]}`);
    }
    sent = Math.max(sent, next - 1);
    return messages;
  },
});

note(`done at ${acked}`);
