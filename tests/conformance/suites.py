"""The two suites: `kosoku` on today's Python, and Autobahn's own, which needs Python 2.7. Each plays a client against
our server, and a server against our client, and writes the same kind of report."""

import asyncio
import json
import os
import re
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

import cases

LIMIT_SECONDS = 600.0
START_SECONDS = 30.0
AT_A_TIME = 8
AGENT = "weirline"


class SuiteError(Exception):
    """A suite could not be run; its verdicts, if it gave any, count for nothing."""


@dataclass
class Kosoku:
    """The cases of Autobahn, played by another runner: seconds, not minutes."""

    program: str
    work: Path
    name: str = "kosoku"

    async def test_server(self, url: str, only: tuple[str, ...] = ()) -> Path:
        folder = fresh(self.work / "server")
        command = [self.program, *self._selection(only), "-p", str(AT_A_TIME), "-o", folder, url]
        # 1 is a failed case; which one is in the report.
        await run_to_end(command, {}, self.work, statuses=(0, 1))
        return folder

    async def test_client(self, client: str) -> Path:
        folder = fresh(self.work / "client")
        command = [self.program, "-m", "fuzzingserver", *self._selection(()), "-o", folder, "127.0.0.1:0"]
        async with Background(command, {}, self.work) as server:
            url = await server.line(rb"listening on (ws://127\.0\.0\.1:\d+)")
            await run_to_end([client, url, AGENT], {}, self.work)
            # It ends by itself when the client has asked for the reports.
            await server.ended()
        return folder

    def _selection(self, only: tuple[str, ...]) -> list[str]:
        included = [word for case in only for word in ("-i", case)]
        return included + [word for case in cases.EXCLUDED for word in ("-x", case)]


@dataclass
class Autobahn:
    """The original."""

    python: str
    base: str
    work: Path
    name: str = "Autobahn"

    async def test_server(self, url: str) -> Path:
        folder = fresh(self.work / "server")
        spec = self._spec(folder, {"servers": [{"url": url, "agent": AGENT}]})
        await run_to_end(self._command("fuzzingclient", spec), self._environment(), self.work)
        return folder

    async def test_client(self, client: str) -> Path:
        folder = fresh(self.work / "client")
        url = f"ws://127.0.0.1:{free_port()}"
        command = self._command("fuzzingserver", self._spec(folder, {"url": url}))
        async with Background([*command, "-u", "0"], self._environment(), self.work) as server:
            await server.line(rb"(Ok, will run \d+ test cases)")
            await run_to_end([client, url, AGENT], {}, self.work)
            await server.line(rb"(Report generation complete)")
        return folder

    def _spec(self, folder: Path, rest: dict) -> Path:
        spec = {"outdir": str(folder), "cases": ["*"], "exclude-cases": cases.EXCLUDED, "exclude-agent-cases": {}}
        path = self.work / "spec.json"
        path.write_text(json.dumps(spec | rest))
        return path

    def _command(self, mode: str, spec: Path) -> list:
        return [self.python, "-u", Path(self.base) / "bin/wstest", "-m", mode, "-s", spec]

    def _environment(self) -> dict[str, str]:
        return {"PYTHONUSERBASE": self.base}


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
        )
        # Somebody must read, or the program stops at a full pipe.
        self._reader = asyncio.create_task(self._read())
        self._news = asyncio.Condition()
        return self

    async def __aexit__(self, *_) -> None:
        self.kill()
        await self._process.wait()
        await self._reader

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
                            raise SuiteError(f"{self} ended without saying {pattern!r}:\n{self.last_words()}")
                    looked = len(self._said)
                    await self._news.wait()
        except TimeoutError as error:
            raise SuiteError(f"{self} did not say {pattern!r}:\n{self.last_words()}") from error

    async def ended(self, seconds: float = START_SECONDS) -> int:
        """Waits until it ends by itself."""
        try:
            async with asyncio.timeout(seconds):
                return await self._process.wait()
        except TimeoutError as error:
            raise SuiteError(f"{self} did not end:\n{self.last_words()}") from error

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    def last_words(self) -> str:
        return b"".join(self._said[-40:]).decode(errors="replace")

    def __str__(self) -> str:
        return " ".join(self._command)


async def run_to_end(command: list, environment: dict[str, str], folder: Path, statuses=(0,)) -> None:
    """Runs a program that must end by itself, with one of these statuses."""
    async with Background(command, environment, folder) as program:
        status = await program.ended(LIMIT_SECONDS)
    if status not in statuses:
        raise SuiteError(f"{program} ended with {status}:\n{program.last_words()}")


def fresh(folder: Path) -> Path:
    """An empty folder: a report of an earlier run must never be taken for this one's."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
