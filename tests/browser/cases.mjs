// What a browser must find at the server. Each case throws what is wrong.
import { follow } from "./follow.js";
import { Peer, same, sameBytes } from "./peer.mjs";

const MIB = 1 << 20;
const LENGTHS = [0, 1, 125, 126, 65535, 65536, 65537, MIB];
const SECOND = 20;

/** By name; `plan` has the addresses, `ask` has something done by whoever runs the servers. */
export const cases = {
  async "texts come back"({ plan }) {
    const peer = await Peer.open(plan.echo);
    const waves = LENGTHS.map((length) => "🌊".repeat(length / 4 + 1));
    for (const text of ["", "weir", "río 川 🌊", "\0\r\n", ...waves]) {
      peer.send(text);
      same(await peer.next(), text, `${text.length} characters`);
    }
    same(await peer.close(1000, "bye"), { code: 1000, reason: "", wasClean: true }, "the end");
  },

  async "binary messages come back"({ plan }) {
    const peer = await Peer.open(plan.echo);
    for (const length of [...LENGTHS, 16 * MIB]) {
      const bytes = pattern(length);
      peer.send(length % 2 ? bytes : new Blob([bytes]));
      sameBytes(await peer.next(), bytes, `${length} bytes`);
    }
    same(await peer.close(1000), { code: 1000, reason: "", wasClean: true }, "the end");
  },

  async "a thousand messages come back in order"({ plan }) {
    const peer = await Peer.open(plan.echo);
    for (let number = 0; number < 1000; number += 1) peer.send(`${number}`);
    for (let number = 0; number < 1000; number += 1) same(await peer.next(), `${number}`, "an answer");
    same(await peer.close(1000), { code: 1000, reason: "", wasClean: true }, "the end");
  },

  async "fragments come back"({ plan }) {
    // Through a proxy that counts frames: the harness asserts that both directions had continuation frames.
    const peer = await Peer.open(plan.counted);
    const bytes = pattern(4 * MIB);
    const text = "川".repeat(MIB);
    peer.send(bytes);
    peer.send(text);
    sameBytes(await peer.next(), bytes, "the binary message");
    same(await peer.next(), text, "the text");
    same(await peer.close(1000), { code: 1000, reason: "", wasClean: true }, "the end");
  },

  async "the subprotocol is chosen"({ plan }) {
    const chosen = await Peer.open(plan.stream, ["nobody.knows.it", "weirline.v1.text"]);
    same(chosen.socket.protocol, "weirline.v1.text", "the subprotocol");
    await chosen.close(1000);
  },

  async "close codes of the page come back"({ plan }) {
    for (const [code, found] of [[1000, 1000], [3000, 3000], [4999, 4999], [undefined, 1005]]) {
      const peer = await Peer.open(plan.echo);
      const end = await (code ? peer.close(code, "why") : peer.close());
      same(end, { code: found, reason: "", wasClean: true }, `after ${code}`);
    }
  },

  async "1008 after a violation of the text form"({ plan }) {
    const peer = await Peer.open(plan.stream, "weirline.v1.text");
    peer.send("nonsense");
    const told = await peer.next();
    if (!/^ERROR:bad-message:./.test(told)) throw new Error(`told ${told}`);
    same(await peer.closed, { code: 1008, reason: "bad-message", wasClean: true }, "the end");
  },

  async "1009 after a message that is too long"({ plan }) {
    const peer = await Peer.open(plan.echo);
    peer.send("before");
    peer.send(pattern(16 * MIB + 1));
    same(await peer.next(), "before", "what came before it");
    const { code, wasClean } = await peer.closed;
    same({ code, wasClean }, { code: 1009, wasClean: true }, "the end");
  },

  async "1006 when the connection is cut"({ plan }) {
    for (const url of [plan.cutByReset, plan.cutByEnd]) {
      const peer = await Peer.open(url);
      do peer.send("x".repeat(100));
      while (await peer.next());
      same(await peer.closed, { code: 1006, reason: "", wasClean: false }, url);
    }
  },

  async "1006 where there is nothing"({ plan }) {
    for (const [url, protocols] of [[`${plan.echo}/nothing`, []], [`${plan.stream}/a/b`, "weirline.v1.text"]]) {
      const peer = new Peer(url, protocols);
      same(await peer.opened, false, `${url} opens`);
      same((await peer.closed).code, 1006, url);
    }
  },

  async "only pages of allowed origins come in"({ plan }) {
    for (const { page, url, opened, code } of plan.origins) {
      const origin = new URL(page).origin;
      same(await embedded(page, url), { origin, opened, code }, `${origin} at ${url}`);
    }
  },

  async "a stream is followed over cuts"({ plan, ask, told }) {
    const { url, half, last } = plan.followed;
    told.followed = await take({ url, last, at: { [half]: () => ask("publish") } });
  },

  async "1001 when the server stops, and a stream is followed into its next life"({ plan, ask, told }) {
    const { echo, stream, first, second } = plan.restarted;
    const peers = [await Peer.open(echo), await Peer.open(stream, "weirline.v1.text")];
    const ends = Promise.all(peers.map((peer) => peer.closed));
    let life = 1;
    const onReset = (common) => {
      life += 1;
      same(common, "0", "what both lives have in common");
    };
    const done = (offset) => life === 2 && offset === `${second}`;
    const restart = () => (life === 1 ? ask("restart") : undefined);
    told.restarted = await take({ url: stream, done, onReset, at: { [first]: restart } });
    for (const { code, wasClean } of await ends) same({ code, wasClean }, { code: 1001, wasClean: true }, "the end");
    same(life, 2, "lives");
  },

  async "gaps, waits and errors are followed"({ plan, told }) {
    const [taken, gaps] = [[], []];
    const why = await new Promise((resolve) => {
      follow(plan.scripted, {
        message: (text, offset) => taken.push(`${offset}:${text}`),
        gap: (...gap) => gaps.push(gap),
        reset: unexpected("a reset"),
        end: resolve,
      }, SECOND);
    });
    told.scripted = { taken, gaps, why };
  },

  async "what is stopped stays so"({ plan }) {
    // Once while it is connected, and once while it waits to dial again.
    for (const url of [plan.stream, plan.nobody]) {
      let stop;
      const why = await new Promise((resolve) => {
        stop = follow(url, { message: () => {}, end: resolve }, SECOND);
        setTimeout(() => stop(), 5 * SECOND);
      });
      same(why, "stopped", url);
    }
  },
};

/** What a follower with planted bugs in its server takes: the harness must notice them. */
export async function takePlanted({ plan, told }) {
  told.planted = {};
  for (const [bug, { url, last }] of Object.entries(plan.planted)) told.planted[bug] = await take({ url, last });
}

/** Follows a stream until its message `last`, and returns what it was given, as `offset:text`. */
function take({ url, last, done = (offset) => offset === `${last}`, onReset = unexpected("a reset"), at = {} }) {
  return new Promise((resolve, reject) => {
    const taken = [];
    const on = {
      message(text, offset) {
        taken.push(`${offset}:${text}`);
        at[offset]?.();
        if (done(offset)) stop();
      },
      reset: (common) => attempt(() => onReset(common), reject),
      gap: (...gap) => reject(new Error(`a gap: ${gap}`)),
      end: (why) => (why === "stopped" ? resolve(taken) : reject(new Error(why))),
    };
    const stop = follow(url, on, SECOND);
  });
}

function unexpected(what) {
  return () => {
    throw new Error(what);
  };
}

function attempt(action, reject) {
  try {
    action();
  } catch (error) {
    reject(error);
  }
}

/** What a page of another origin finds: it is shown in a frame, and tells this one. */
function embedded(page, url) {
  const frame = document.createElement("iframe");
  frame.hidden = true;
  return new Promise((resolve) => {
    addEventListener("message", function hear({ data, source }) {
      if (source !== frame.contentWindow) return;
      removeEventListener("message", hear);
      frame.remove();
      resolve(data);
    });
    frame.src = `${page}?url=${encodeURIComponent(url)}`;
    document.body.append(frame);
  });
}

/** Bytes that differ from their neighbours and from those a power of two away. */
function pattern(length) {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 1) bytes[at] = (at * 31 + (at >> 8) * 17 + (at >> 16)) & 0xff;
  return bytes;
}
