// Follows a stream over any number of connections: each message once and in order, from its first to whatever comes.
export function follow(url, on, second = 1000) {
  let offset = 0, epoch = "", dials = -1, over = "", socket;
  (function dial() {
    if (over) return on.end(over);
    const since = Date.now();
    socket = new WebSocket(url, "weirline.v1.text");
    socket.onopen = () => socket.send(`RESUME_FROM:${offset}${epoch && `@${epoch}`}`);
    socket.onmessage = ({ data }) => {
      const [word, ...rest] = data.split(":");
      if (/^\d/.test(word)) { offset = word; on.message(rest.join(":"), offset); }
      else if (word === "RESUMED") epoch = data.split("@")[1];
      else if (word === "RESET") { [epoch, offset] = rest; on.reset(offset); }
      else if (word === "GAP") { offset = rest[1]; on.gap(...rest); }
      else if (word === "ERROR" && rest[0] !== "unavailable") over = data;
    };
    socket.onclose = ({ reason }) => {
      dials = Date.now() - since > 30 * second ? 0 : dials + 1;
      const backoff = Math.min(2 ** dials + Math.random(), 30) * second;
      setTimeout(dial, over ? 0 : Math.max(backoff, /after=(\d+)/.exec(reason)?.[1] ?? 0));
    };
  })();
  return () => { over = "stopped"; socket.close(); };
}
