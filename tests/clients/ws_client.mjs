// What the clients on node's `ws` share: dialling again and again, and noticing silence.
import { createRequire } from "node:module";

const require = createRequire(`${process.env.WEIRLINE_NODE_FOLDER}/`);
const { WebSocket } = require("ws");

const SUBPROTOCOL = "weirline.v1.text";
const ORIGIN = "http://clients.example";
const SILENCE_MS = 1000;
const REDIAL_MS = 20;

export const note = (text) => process.stderr.write(`${text}\n`);

/** The server said what it may not say; no reconnecting helps. */
export function violation(text) {
  note(`violation: ${text}`);
  process.exit(3);
}

/**
 * Connects until `client.done()`. The client has `opening()` -> messages, `receive(text)` -> messages, `done()`, and a
 * `subprotocol` unless it speaks the text form.
 */
export async function run(url, client) {
  while (!client.done()) {
    await attempt(url, client);
    if (!client.done()) await new Promise((resolve) => setTimeout(resolve, REDIAL_MS));
  }
}

function attempt(url, client) {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, client.subprotocol ?? SUBPROTOCOL, { origin: ORIGIN, handshakeTimeout: 2000, maxPayload: 0 });
    let alive = true;
    const heartbeat = setInterval(() => {
      if (!alive) return socket.terminate();
      alive = false;
      if (socket.readyState === WebSocket.OPEN) socket.ping();
    }, SILENCE_MS);
    const send = (messages) => messages.forEach((message) => socket.send(message));
    socket.on("open", () => send(client.opening()));
    socket.on("pong", () => (alive = true));
    socket.on("message", (data, isBinary) => {
      alive = true;
      if (isBinary) violation("a binary message for a text one");
      send(client.receive(data.toString("utf8")));
      if (client.done()) socket.close(1000);
    });
    socket.on("error", (error) => note(`cut: ${error.message}`));
    socket.on("close", (code, reason) => {
      clearInterval(heartbeat);
      // 1006: no Close frame came. The proxy only ever cuts, so any other code is the server's own doing.
      if (!client.done() && code !== 1006) violation(`closed by the server: ${code} ${reason}`);
      resolve();
    });
  });
}
