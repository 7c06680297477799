// The JSON form on node's `ws`: URL STREAM FILE OUT. Publishes the lines of a file to a stream, and subscribes to it; each exactly once,
// however often the connection is cut: `count` says what the server has, `after` says what is here.
import { randomBytes } from "node:crypto";
import { openSync, readFileSync, writeSync } from "node:fs";
import { note, run, violation } from "./ws_client.mjs";

const [url, stream, path, out] = process.argv.slice(2);
const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
const file = openSync(out, "w");
let known = { attach: 0 };
let position = { after: 0 };
let acked, sent, spent, limits;

await run(url, {
  subprotocol: "weirline.v1.json",
  done: () => acked === lines.length && position.after >= lines.length,
  opening() {
    note(`${acked} acknowledged, position ${JSON.stringify(position)}`);
    // Without an answer there is no session yet, and no other name for what was made.
    known.attach = known.session ? known.attach + 1 : 1;
    acked = undefined;
    const subs = [{ sub: 1, stream, ...position }];
    const nonce = randomBytes(16).toString("base64url");
    return [JSON.stringify({ t: "hello", v: 1, nonce, subs, ...known })];
  },
  receive(text) {
    return [...answers(JSON.parse(text)), ...publishes()].map((message) => JSON.stringify(message));
  },
});

function answers(message) {
  const { t, bytes, messages, session, token } = message;
  if (t === "welcome") {
    known = { ...known, session, token: token ?? known.token };
    acked = sent = message.count;
    spent = { bytes: 0, messages: 0 };
  } else if (t === "puback" && !message.code) acked = Math.max(acked, message.seq);
  else if (t === "subok") position = { epoch: message.epoch, after: message.offset };
  else if (t === "data") {
    writeSync(file, `${message.offset}:${message.text}\n`);
    position.after = message.offset;
    return [{ t: "ack", sub: 1, epoch: position.epoch, offset: message.offset }];
  } else if (t === "ping") return [{ t: "pong", echo: message.echo }];
  else if (t !== "credit") violation(JSON.stringify(message)); // a REJECT, a refused PUB, a GAP: none has a reason here
  if (t === "welcome" || t === "credit") limits = { bytes, messages };
  return [];
}

function* publishes() {
  while (acked !== undefined && sent < lines.length && spent.bytes < limits.bytes && spent.messages < limits.messages) {
    sent += 1;
    yield { t: "pub", seq: sent, stream, text: lines[sent - 1] };
    spent = { bytes: spent.bytes + Buffer.byteLength(lines[sent - 1]) + 32, messages: spent.messages + 1 };
  }
}
