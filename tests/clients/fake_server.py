"""A server of the text form with a bug of choice, so that the self-test can show that each bug is noticed.

It is no model of the real one: it keeps everything in lists, and knows only what the clients here use.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from text_form import SUBPROTOCOL

EPOCH = "00000000000000ab"
BUGS = (
    "repeats-after-resume",
    "skips-after-resume",
    "swaps-two",
    "changes-a-byte",
    "forgets-the-session",
    "loses-a-publish",
    "stops-after-resume",
    "acks-too-much",
    "resets",
)


@dataclass
class Stream:
    lines: list[str] = field(default_factory=list)
    grew: asyncio.Event = field(default_factory=asyncio.Event)

    def append(self, line: str) -> None:
        self.lines.append(line)
        self.grew.set()
        self.grew = asyncio.Event()


class FakeServer:
    def __init__(self, bug: str | None) -> None:
        self.bug = bug
        self.streams: dict[str, Stream] = defaultdict(Stream)
        self.counts: dict[str, int] = defaultdict(int)
        self.resumes = 0
        self._server: Server | None = None

    async def start(self) -> tuple[str, int]:
        self._server = await serve(
            self._handle,
            "127.0.0.1",
            0,
            select_subprotocol=lambda _, offered: SUBPROTOCOL if offered else None,
            compression=None,
            ping_interval=None,
            close_timeout=0.2,
        )
        return self._server.sockets[0].getsockname()

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _handle(self, socket: ServerConnection) -> None:
        stream = self.streams[socket.request.path.rsplit("/", 1)[1]]
        try:
            first = await socket.recv()
            if first.startswith("SESSION:"):
                await self._take(socket, stream, first.split(":")[1])
            else:
                await self._give(socket, stream, first)
        except ConnectionClosed:
            pass

    async def _take(self, socket: ServerConnection, stream: Stream, session: str) -> None:
        await socket.recv()
        if self.bug == "forgets-the-session" and self.counts[session]:
            self.counts[session] -= 1
        count = self.counts[session]
        await socket.send(f"RESUME_FROM:{count}")
        async for message in socket:
            number, _, line = message.partition(":")
            if int(number) != self.counts[session] + 1:
                continue
            self.counts[session] += 1
            if self.bug != "loses-a-publish" or number != "100":
                stream.append(line)
            await socket.send(f"ACK:{self.counts[session] + (1000 if self.bug == 'acks-too-much' else 0)}")

    async def _give(self, socket: ServerConnection, stream: Stream, first: str) -> None:
        position = int(first.removeprefix("RESUME_FROM:").split("@")[0])
        await socket.send("RESUME_FROM:0")
        if position and self.bug == "resets":
            await socket.send(f"RESET:{EPOCH}:0")
        await socket.send(f"RESUMED:{position}:{len(stream.lines)}@{EPOCH}")
        if position:
            self.resumes += 1
            if self.resumes == 2 and self.bug in ("repeats-after-resume", "skips-after-resume"):
                position += -1 if self.bug.startswith("repeats") else 1
            if self.bug == "stops-after-resume":
                await socket.wait_closed()
        reader = asyncio.create_task(self._read_acks(socket))
        try:
            while not reader.done():
                position = await self._give_more(socket, stream, position)
        finally:
            reader.cancel()

    async def _give_more(self, socket: ServerConnection, stream: Stream, position: int) -> int:
        if position >= len(stream.lines):
            try:
                async with asyncio.timeout(0.2):
                    await stream.grew.wait()
            except TimeoutError:
                pass
            return position
        line = stream.lines[position]
        if self.bug == "changes-a-byte" and position == 150:
            line = f"{line}!"
        if self.bug == "swaps-two" and position == 150 and len(stream.lines) > 151:
            await socket.send(f"152:{stream.lines[151]}")
            await socket.send(f"151:{line}")
            return 152
        await socket.send(f"{position + 1}:{line}")
        return position + 1

    async def _read_acks(self, socket: ServerConnection) -> None:
        async for _ in socket:
            pass
