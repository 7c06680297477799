"""The pages, and what they ask of whoever runs the servers: just enough HTTP for one browser."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

HERE = Path(__file__).parent
TYPES = {".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript"}
FILES = ("page.html", "frame.html", "page.mjs", "cases.mjs", "peer.mjs", "follow.js")
BODY_MAX = 64 << 20


class Site:
    """One origin. `report` holds what the page reported, once it has."""

    def __init__(self, ask: Callable[[str], Awaitable[None]]) -> None:
        self._ask = ask
        self.plan: dict = {}
        self.report: asyncio.Future[dict] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> "Site":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, path, _ = head.split(" ", 2)
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            length = int(fields.get("content-length", 0))
            body = await reader.readexactly(length) if length <= BODY_MAX else b""
            status, kind, answer = await self._answer(method, path.split("?")[0], body)
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {len(answer)}\r\n"
                "Cache-Control: no-store\r\nConnection: close\r\n\r\n".encode() + answer
            )
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, method: str, path: str, body: bytes) -> tuple[str, str, bytes]:
        name = path.removeprefix("/")
        if method == "GET" and name in FILES:
            return "200 OK", TYPES[Path(name).suffix], (HERE / name).read_bytes()
        if method == "GET" and name == "plan":
            return "200 OK", "application/json", json.dumps(self.plan).encode()
        if method == "GET" and name == "done":
            await asyncio.wait([self.report])
            return "404 Not Found", "text/plain", b""
        if method == "POST" and name.startswith("ask/"):
            await self._ask(name.removeprefix("ask/"))
            return "200 OK", "text/plain", b""
        if method == "POST" and name == "report" and not self.report.done():
            self.report.set_result(json.loads(body))
            return "200 OK", "text/plain", b""
        return "404 Not Found", "text/plain", b""
