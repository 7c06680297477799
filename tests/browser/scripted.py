"""A server of the text form that says what is written here, for what the real one says only when it must."""

import time

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

SUBPROTOCOL = "weirline.v1.text"
EPOCH = "00000000000000ab"
AFTER_MS = 400

# For each connection: how it must begin, what it is told, and how it is closed.
CONNECTIONS = [
    ("RESUME_FROM:0", [f"RESUMED:0:12@{EPOCH}", "PAUSE:slow-consumer", "GAP:1:10:retention"], (1011, "")),
    (
        f"RESUME_FROM:10@{EPOCH}",
        [f"RESUMED:10:12@{EPOCH}", "CONTINUE", "11:one: two\nthree"],
        (1008, f"Backpressure: downstream saturated; resume=1; after={AFTER_MS}"),
    ),
    (f"RESUME_FROM:11@{EPOCH}", ["ERROR:unavailable:try later"], (1008, "unavailable")),
    (f"RESUME_FROM:11@{EPOCH}", [f"RESUMED:11:12@{EPOCH}", "12:", "ERROR:forbidden:enough"], (1008, "forbidden")),
]

# What a follower must make of that.
TAKEN = {
    "taken": ["11:one: two\nthree", "12:"],
    "gaps": [["1", "10", "retention"]],
    "why": "ERROR:forbidden:enough",
}


class ScriptedServer:
    def __init__(self) -> None:
        self.problems: list[str] = []
        self._begun = 0
        self._asked_to_wait_at = 0.0

    async def __aenter__(self) -> str:
        self._server = await serve(
            self._handle, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL], compression=None, ping_interval=None
        )
        host, port = self._server.sockets[0].getsockname()
        return f"ws://{host}:{port}/v1/streams/scripted"

    async def __aexit__(self, *_) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _handle(self, socket: ServerConnection) -> None:
        number, self._begun = self._begun, self._begun + 1
        if number >= len(CONNECTIONS):
            self.problems.append("scripted: dialled again after an error that is final")
            return
        if number == 2 and time.monotonic() - self._asked_to_wait_at < AFTER_MS / 1000:
            self.problems.append(f"scripted: dialled before the {AFTER_MS} ms that it was asked to wait")
        begin, messages, (code, reason) = CONNECTIONS[number]
        try:
            if (found := await socket.recv()) != begin:
                self.problems.append(f"scripted: connection {number} began with {found!r}, not {begin!r}")
            for message in ["RESUME_FROM:0", *messages]:
                await socket.send(message)
        except ConnectionClosed:
            self.problems.append(f"scripted: connection {number} was closed by the page")
        self._asked_to_wait_at = time.monotonic()
        await socket.close(code, reason)
