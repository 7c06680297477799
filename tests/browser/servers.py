"""The servers that the page meets."""

import asyncio
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "common"))
from programs import Background, ProgramError  # noqa: E402

STOP_SECONDS = 15.0
PUBLISH_SECONDS = 30.0


class Weirline:
    """The binary, which can be stopped and started again at its address."""

    def __init__(self, binary: str, work: Path, *arguments: str) -> None:
        self._binary = binary
        self._work = work
        self._arguments = arguments
        self._address = "127.0.0.1:0"
        self._process: Background | None = None

    async def __aenter__(self) -> "Weirline":
        await self.start()
        return self

    async def __aexit__(self, *error) -> None:
        await self._process.__aexit__(*error)

    async def start(self) -> None:
        command = [self._binary, *self._arguments, "--listen", self._address]
        self._process = await Background(command, {}, self._work).__aenter__()
        self._address = await self._process.line(rb"listening on ws://(127\.0\.0\.1:\d+)")

    async def stop(self) -> None:
        """SIGTERM must end it in time, with 0 and without a panic."""
        self._process.terminate()
        status = await self._process.ended(STOP_SECONDS)
        await self._process.__aexit__()
        if status != 0 or "panicked at" in self._process.last_words():
            raise ProgramError(f"{self._process} ended with {status}:\n{self._process.last_words()}")

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._address.split(":")
        return host, int(port)

    def url(self, path: str) -> str:
        return f"ws://{self._address}{path}"

    async def publish(self, stream: str, lines: list[str]) -> None:
        """By the binary's own client; returns when the log has them."""
        publisher = await asyncio.create_subprocess_exec(
            self._binary,
            "publish",
            self.url(f"/v1/streams/{stream}"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                said, _ = await publisher.communicate("".join(f"{line}\n" for line in lines).encode())
        finally:
            if publisher.returncode is None:
                publisher.kill()
        if publisher.returncode != 0:
            raise ProgramError(f"publish ended with {publisher.returncode}: {said.decode(errors='replace')}")
