"""Programs that run while others talk to them."""

import asyncio
import os
import re
import signal
from pathlib import Path

START_SECONDS = 30.0
DRAIN_SECONDS = 5.0
LINES_SHOWN = 40


class ProgramError(Exception):
    """A program did not do what it was started for."""


class Background:
    """A program that runs while others talk to it; what it says is kept for the one who asks why it failed."""

    def __init__(self, command: list, environment: dict[str, str], folder: Path) -> None:
        self._command = [str(word) for word in command]
        self._environment = environment
        self._folder = folder
        self._said: list[bytes] = []

    async def __aenter__(self) -> "Background":
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self._folder,
            env={**os.environ, **self._environment},
            limit=1 << 20,
            # Its own group, so that its children end with it.
            start_new_session=True,
        )
        # Somebody must read, or the program stops at a full pipe.
        self._reader = asyncio.create_task(self._read())
        self._news = asyncio.Condition()
        return self

    async def __aexit__(self, *_) -> None:
        self.kill()
        await self._process.wait()
        # Somebody that it started may hold the pipe for longer.
        await asyncio.wait([self._reader], timeout=DRAIN_SECONDS)
        self._reader.cancel()

    async def _read(self) -> None:
        async for line in self._process.stdout:
            async with self._news:
                self._said.append(line)
                self._news.notify_all()
        async with self._news:
            self._said.append(b"")
            self._news.notify_all()

    async def line(self, pattern: bytes, seconds: float = START_SECONDS) -> str:
        """Waits for a line; returns what its group matched."""
        looked = 0
        try:
            async with asyncio.timeout(seconds), self._news:
                while True:
                    for line in self._said[looked:]:
                        if found := re.search(pattern, line):
                            return found[1].decode()
                        if line == b"":
                            raise ProgramError(f"{self} ended without saying {pattern!r}:\n{self.last_words()}")
                    looked = len(self._said)
                    await self._news.wait()
        except TimeoutError as error:
            raise ProgramError(f"{self} did not say {pattern!r}:\n{self.last_words()}") from error

    async def ended(self, seconds: float = START_SECONDS) -> int:
        """Waits until it ends by itself."""
        try:
            async with asyncio.timeout(seconds):
                return await self._process.wait()
        except TimeoutError as error:
            raise ProgramError(f"{self} did not end:\n{self.last_words()}") from error

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def last_words(self) -> str:
        return b"".join(self._said[-LINES_SHOWN:]).decode(errors="replace")

    def __str__(self) -> str:
        return " ".join(self._command)
