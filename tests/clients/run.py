"""Independent clients against the release binary: subscribers and publishers written by others, cut again and again.

Every line of a file must arrive exactly once and in order, and be in the log exactly once.
"""

import argparse
import asyncio
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import harness
import plan
from harness import Settings
from text_form import ORIGIN

START_SECONDS = 20.0
STOP_SECONDS = 15.0
SERVER_NOTES = 40


class Server:
    """The binary under test; its log goes to a file, of which a failure shows the end."""

    def __init__(self, binary: str, work: Path, arguments: list[str]) -> None:
        # Of its own, and gone with the work directory: no run finds the streams of another.
        data = tempfile.mkdtemp(prefix="data-", dir=work)
        listen = ["--listen", "127.0.0.1:0", "--data-dir", data]
        self._command = [binary, "serve", *listen, "--origin", ORIGIN, *arguments]
        self._log = work / "server.log"

    async def start(self) -> tuple[str, int]:
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                async for line in self._process.stdout:
                    found = re.search(rb"listening on ws://(127\.0\.0\.1):(\d+)", line)
                    if found:
                        return found[1].decode(), int(found[2])
        except TimeoutError:
            pass
        raise RuntimeError(f"{' '.join(self._command)} did not say where it listens\n{self.last_words()}")

    async def stop(self) -> list[str]:
        """SIGTERM must end it in time and with 0; returns what was wrong."""
        if self._process.returncode is not None:
            return [f"the server ended by itself with {self._process.returncode}"]
        self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                code = await self._process.wait()
        except TimeoutError:
            return [f"the server was not done {STOP_SECONDS:.0f} s after SIGTERM"]
        finally:
            self.kill()
        panics = [line for line in self._log.read_text(errors="replace").splitlines() if "panicked at" in line]
        return ([] if code == 0 else [f"the server ended with {code} after SIGTERM"]) + panics[:3]

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    def last_words(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-SERVER_NOTES:])


async def run(settings: Settings, only: str) -> list[harness.Result]:
    """One stream with every subscriber at work while the first publisher fills it, one for the second publisher, one for a
    client that publishes and subscribes, and one for each client that does so in the JSON form."""
    first, second = harness.PUBLISHERS
    names = [name for name in harness.SUBSCRIBERS if only in name]
    work = [harness.subscribe(settings, name, "lines-1") for name in names]
    work += [harness.publish(settings, first, "lines-1"), harness.publish(settings, second, "lines-2")]
    work += [harness.both(settings, "lines-3")]
    work += [harness.session(settings, name, f"lines-{number}") for number, name in enumerate(harness.SESSIONS, 4)]
    progress = asyncio.create_task(show_progress(settings, time.monotonic()))
    try:
        results = await asyncio.gather(*work)
        if not settings.failed.is_set():
            results += await asyncio.gather(*(harness.fresh(settings, f"lines-{number}") for number in range(1, 6)))
    finally:
        progress.cancel()
    return results


async def show_progress(settings: Settings, started: float) -> None:
    while True:
        await asyncio.sleep(10)
        sizes = {path.stem: path.read_bytes().count(b"\n") for path in settings.work.glob("*-lines-?.txt")}
        print(f"after {time.monotonic() - started:.0f} s of at most {settings.deadline:.0f}: {sizes}", flush=True)


async def main() -> int:
    options = parse()
    lines = plan.lines(options.seed, options.lines)
    with tempfile.TemporaryDirectory(prefix="weirline-clients-") as folder:
        work = Path(folder)
        harness.write_lines(work, lines)
        server = Server(options.server, work, options.server_argument)
        address = await server.start()
        deadline = 60 + options.cuts * 3 + options.lines / 400
        settings = Settings(address, options.node_folder, work, lines, options.cuts, options.seed, deadline)
        try:
            results = await run(settings, options.only)
            problems = await server.stop()
        finally:
            server.kill()
        print(harness.table(results))
        good = not problems and all(not result.problems for result in results)
        if not good:
            print(harness.explain(results), *problems, "server's last words:", server.last_words(), sep="\n")
        print(f"{options.lines} lines, {options.cuts} cuts per client, seed {options.seed}: {'ok' if good else 'FAILED'}")
    return 0 if good else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, help="the weirline binary")
    parser.add_argument("--node-folder", required=True, help="the folder whose node_modules has ws")
    parser.add_argument("--lines", type=int, default=3000)
    parser.add_argument("--cuts", type=int, default=20, help="cuts per client while data moves")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only subscribers whose name contains this")
    parser.add_argument("--server-argument", action="append", default=[], help="handed on to `weirline serve`")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
