"""The two suites: `kosoku` on today's Python, and Autobahn's own, which needs Python 2.7. Each plays a client against
our server, and a server against our client, and writes the same kind of report."""

import asyncio
import json
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import cases

sys.path.append(str(Path(__file__).parents[1] / "common"))
from programs import START_SECONDS, Background, ProgramError  # noqa: E402

LIMIT_SECONDS = 600.0
POLL_SECONDS = 0.05
AT_A_TIME = 8
AGENT = "weirline"


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
        port = free_port()
        url = f"ws://127.0.0.1:{port}"
        command = self._command("fuzzingserver", self._spec(folder, {"url": url}))
        async with Background([*command, "-u", "0"], self._environment(), self.work) as server:
            await server.line(rb"(Ok, will run \d+ test cases)")
            # It says so before it listens.
            await listening(port)
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


async def run_to_end(command: list, environment: dict[str, str], folder: Path, statuses=(0,)) -> None:
    """Runs a program that must end by itself, with one of these statuses: else its verdicts count for nothing."""
    async with Background(command, environment, folder) as program:
        status = await program.ended(LIMIT_SECONDS)
    if status not in statuses:
        raise ProgramError(f"{program} ended with {status}:\n{program.last_words()}")


async def listening(port: int) -> None:
    """Waits until somebody takes connections there."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(POLL_SECONDS)
            else:
                writer.close()
                return


def fresh(folder: Path) -> Path:
    """An empty folder: a report of an earlier run must never be taken for this one's."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
