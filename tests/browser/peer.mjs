// A WebSocket whose events can be awaited, and what a case says when they are not the ones that it wants.

export class Peer {
  constructor(url, protocols = []) {
    this.socket = new WebSocket(url, protocols);
    this.socket.binaryType = "arraybuffer";
    this.messages = [];
    this.waiting = [];
    this.opened = new Promise((resolve) => {
      this.socket.addEventListener("open", () => resolve(true));
      this.socket.addEventListener("close", () => resolve(false));
    });
    this.closed = new Promise((resolve) => {
      this.socket.addEventListener("close", ({ code, reason, wasClean }) => {
        resolve({ code, reason, wasClean });
        this.waiting.forEach((wake) => wake(undefined));
      });
    });
    this.socket.addEventListener("message", ({ data }) => {
      const wake = this.waiting.shift();
      if (wake) wake(data);
      else this.messages.push(data);
    });
  }

  static async open(url, protocols) {
    const peer = new Peer(url, protocols);
    if (!(await peer.opened)) throw new Error(`${url}: ${JSON.stringify(await peer.closed)}`);
    return peer;
  }

  send(data) {
    this.socket.send(data);
  }

  /** The next message; `undefined` when the connection ends before it. */
  next() {
    if (this.messages.length || this.socket.readyState === WebSocket.CLOSED) return this.messages.shift();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  async close(code, reason) {
    this.socket.close(code, reason);
    return this.closed;
  }
}

export function same(found, wanted, what) {
  const [left, right] = [found, wanted].map((value) => JSON.stringify(value));
  if (left !== right) throw new Error(`${what}: ${short(left)}, not ${short(right)}`);
}

export function sameBytes(found, wanted, what) {
  const [left, right] = [found, wanted].map((bytes) => new Uint8Array(bytes));
  const at = left.findIndex((byte, index) => byte !== right[index]);
  if (left.length !== right.length || at >= 0) {
    throw new Error(`${what}: ${left.length} bytes for ${right.length}, the first difference at ${at}`);
  }
}

function short(text) {
  return text === undefined || text.length <= 200 ? text : `${text.slice(0, 200)} …`;
}
