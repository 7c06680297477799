"""A TCP proxy that cuts connections as planned: by RST, by FIN, or by silence, at an exact byte."""

import asyncio
import random
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass, field

from frames import FrameTracker
from plan import Cut

CHUNK = 16 * 1024
DRAIN_SECONDS = 5.0
HOLD_SECONDS = 0.05

# At most so many messages belong to an attach: RESUME_FROM and a repeated ACK, or RESUME_FROM and RESUMED, or
# SESSION and RESUME_FROM.
ATTACH_MESSAGES = 2


@dataclass
class Done:
    """A cut that happened."""

    cut: Cut
    direction: str
    place: str
    bytes_up: int
    bytes_down: int
    messages_up: int
    messages_down: int


@dataclass
class Flow:
    """What one direction has forwarded. `body` counts from the end of the HTTP head."""

    raw: int = 0
    body: int = 0
    moved_at: float = 0.0
    tracker: FrameTracker = field(default_factory=FrameTracker)
    _head: bytearray | None = field(default_factory=bytearray)

    def forwarded(self, data: bytes) -> None:
        self.raw += len(data)
        self.moved_at = time.monotonic()
        behind = data[self.head_left(data) :]
        if self._head is not None:
            self._head += data
            if b"\r\n\r\n" in self._head:
                self._head = None
        self.body += len(behind)
        self.tracker.feed(behind)

    def head_left(self, data: bytes) -> int:
        """How many of these next bytes still belong to the head."""
        if self._head is None:
            return 0
        end = (self._head + data).find(b"\r\n\r\n")
        return len(data) if end < 0 else end + 4 - len(self._head)


class Connection:
    """One client's connection through the proxy, until its planned cut or its end."""

    def __init__(self, client: socket.socket, server: socket.socket, cut: Cut | None, rng: random.Random) -> None:
        self.sockets = (client, server)
        self.cut = cut
        self.flows = {"up": Flow(), "down": Flow()}
        self.more = rng.randint(16, 256)
        self.limits = {} if cut is None else {"up": cut.up, "down": cut.down}
        self.reached: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> Done | None:
        """Forwards until both ends are through (`None`) or until the cut is due; the caller then cuts."""
        client, server = self.sockets
        pumps = [
            asyncio.create_task(self._pump("up", client, server)),
            asyncio.create_task(self._pump("down", server, client)),
        ]
        both = asyncio.gather(*pumps, return_exceptions=True)
        await asyncio.wait([both, self.reached, self.broken], return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        # Only when no pump waits for a socket any more may it be closed: the event loop knows it by its number, which
        # the next socket gets.
        await asyncio.gather(*pumps, return_exceptions=True)
        if not self.reached.done():
            if self.broken.done():
                # One end is gone: take the other down with it, as a network would in the end.
                for sock in self.sockets:
                    abort(sock)
            return None
        up, down = self.flows["up"], self.flows["down"]
        direction = self.reached.result()
        place = self.flows[direction].tracker.place() if self.cut.stage == "data" else "attach"
        return Done(self.cut, direction, place, up.body, down.body, up.tracker.messages, down.tracker.messages)

    async def _pump(self, direction: str, source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        flow = self.flows[direction]
        try:
            while data := await loop.sock_recv(source, CHUNK):
                while data:
                    due = self._due(direction, data)
                    now, data = (data, b"") if due is None else (data[:due], data[due:])
                    await loop.sock_sendall(sink, now)
                    flow.forwarded(now)
                    if due is not None and await self._may_cut(direction):
                        if not self.reached.done():
                            self.reached.set_result(direction)
                        return
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            if not self.broken.done():
                self.broken.set_result(None)

    def _due(self, direction: str, data: bytes) -> int | None:
        """How many of these bytes go through before the cut; `None` when it is not due within them."""
        limit = self.limits.get(direction)
        if limit is None:
            return None
        flow = self.flows[direction]
        if self.cut.stage == "attach":
            left = limit - flow.raw
            return left if left <= len(data) else None
        head = flow.head_left(data)
        left = max(limit - flow.body, 0)
        return None if head + left > len(data) or head == len(data) else head + left

    async def _may_cut(self, direction: str) -> bool:
        """A cut of data counts only when both sides have sent more than what an attach consists of. When this
        direction is at its limit before that, it is held for the other; if that waits for more, a little more is let through."""
        if self.cut.stage == "attach":
            return True
        held = time.monotonic()
        while not self._both_move():
            if time.monotonic() - held > HOLD_SECONDS:
                self.limits[direction] = self.flows[direction].body + self.more
                self.more *= 2
                return False
            await asyncio.sleep(0.001)
        return True

    def _both_move(self) -> bool:
        return all(flow.tracker.messages > ATTACH_MESSAGES for flow in self.flows.values())

    def state(self) -> str:
        up, down = self.flows["up"], self.flows["down"]
        quiet = {name: time.monotonic() - flow.moved_at for name, flow in self.flows.items() if flow.moved_at}
        return f"{up.raw} bytes up, {down.raw} down, quiet for {quiet}, limits {self.limits}"


class CuttingProxy:
    """Listens for one client; its k-th cut is the plan's k-th. A connection that ends by itself uses up no cut."""

    def __init__(self, upstream: tuple[str, int], plan: list[Cut], seed: str) -> None:
        self.upstream = upstream
        self.open_cuts = deque(plan)
        self.done: list[Done] = []
        self.connections = 0
        self.current: Connection | None = None
        self._rng = random.Random(seed)
        self._silent: list[socket.socket] = []
        self._tasks: set[asyncio.Task] = set()
        self._listener: socket.socket | None = None

    async def start(self) -> int:
        """Returns the port to connect to."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._spawn(self._accept())
        return self._listener.getsockname()[1]

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for sock in [self._listener, *self._silent]:
            sock.close()

    def state(self) -> str:
        current = "no connection" if self.current is None else self.current.state()
        return f"{self.connections} connections, {len(self.done)} cuts done, {len(self.open_cuts)} to come; {current}"

    def _spawn(self, coroutine) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(self._listener)
            client.setblocking(False)
            self.connections += 1
            self._spawn(self._serve(client))

    async def _serve(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        server.setblocking(False)
        try:
            await loop.sock_connect(server, self.upstream)
        except OSError:
            abort(client)
            server.close()
            return
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        cut = self.open_cuts[0] if self.open_cuts else None
        connection = self.current = Connection(client, server, cut, self._rng)
        done = None
        try:
            done = await connection.run()
            if done is not None and self.open_cuts and self.open_cuts[0] is cut:
                self.open_cuts.popleft()
                self.done.append(done)
                await self._cut(cut.mode, connection.sockets)
        finally:
            if done is None or done.cut.mode != "silence":
                for sock in connection.sockets:
                    sock.close()

    async def _cut(self, mode: str, sockets: tuple[socket.socket, socket.socket]) -> None:
        if mode == "rst":
            for sock in sockets:
                abort(sock)
        elif mode == "fin":
            await asyncio.gather(*(finish(sock) for sock in sockets))
        else:
            # Nobody reads or writes them any more, and nobody tells the two ends.
            self._silent.extend(sockets)


def abort(sock: socket.socket) -> None:
    """Closes with an RST."""
    if sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


async def finish(sock: socket.socket) -> None:
    """Sends a FIN, and reads on for a while: closing with unread data would send an RST."""
    loop = asyncio.get_running_loop()
    try:
        sock.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(DRAIN_SECONDS):
            while await loop.sock_recv(sock, CHUNK):
                pass
    except (OSError, TimeoutError):
        pass
