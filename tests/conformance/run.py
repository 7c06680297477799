"""Autobahn's cases against our server and our client."""

import argparse
import asyncio
import re
import subprocess
import sys
import time
from os.path import abspath
from pathlib import Path

import cases
import judge
import report
from suites import Autobahn, Background, Kosoku, ProgramError

STOP_SECONDS = 15.0


async def test(suite: Kosoku | Autobahn, server: str, client: str) -> dict[str, judge.Verdicts]:
    """Both of our sides with one suite."""
    suite.work.mkdir(parents=True, exist_ok=True)
    results = {}
    for side, run in (("server", test_server(suite, server)), ("client", suite.test_client(client))):
        started = time.monotonic()
        try:
            verdicts = judge.read(await run, cases.expected())
        except ProgramError as error:
            verdicts = judge.Verdicts(problems=[str(error)])
        results[f"{side}, {suite.name}"] = verdicts
        took = f"{len(verdicts.by_case)} cases in {time.monotonic() - started:.1f} s"
        print(f"{side} with {suite.name}: {took}: {summary(verdicts)}", flush=True)
    return results


async def test_server(suite: Kosoku | Autobahn, server: str) -> Path:
    command = [server, "serve", "--echo", "--listen", "127.0.0.1:0", "--durability", "memory"]
    async with Background(command, {}, suite.work) as process:
        url = await process.line(rb"listening on (ws://127\.0\.0\.1:\d+)")
        folder = await suite.test_server(f"{url}/echo")
        process.terminate()
        status = await process.ended(STOP_SECONDS)
    if status != 0 or "panicked at" in process.last_words():
        raise ProgramError(f"the server ended with {status}:\n{process.last_words()}")
    return folder


def summary(verdicts: judge.Verdicts) -> str:
    if not verdicts.problems:
        return "ok"
    return "\n  ".join([f"{len(verdicts.problems)} FAILED", *verdicts.problems])


def versions(options: argparse.Namespace) -> dict[str, str]:
    """Of everything that took part, as the programs and the pins tell it."""
    here = Path(__file__).parent
    pins = (here / "requirements.txt").read_text() + (here / "requirements-python2.txt").read_text()

    def pin(name: str) -> str:
        return re.search(rf"^{name}==(\S+)$", pins, re.MULTILINE)[1]

    return {
        "kosoku": pin("kosoku"),
        "autobahn": pin("autobahntestsuite"),
        "python2": said([options.python2, "-c", "import platform; print(platform.python_version())"]),
        "weirline": said([options.server, "--version"]),
    }


def said(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


async def main() -> int:
    options = parse()
    work = Path(options.work)
    results = await test(Kosoku(options.kosoku, work / "kosoku"), options.server, options.client)
    if options.full:
        autobahn = Autobahn(options.python2, options.python2_base, work / "autobahn")
        results = await test(autobahn, options.server, options.client) | results
    failed = any(verdicts.problems for verdicts in results.values())
    if options.full and not failed:
        Path(options.full).write_text(report.render(results, versions(options)))
        print(f"wrote {options.full}")
    print(f"reports with every frame: {work}")
    return 1 if failed else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", type=abspath, required=True, help="the weirline binary")
    parser.add_argument("--client", type=abspath, required=True, help="the example `conformance` of weirline-tokio")
    parser.add_argument("--kosoku", type=abspath, required=True, help="the program kosoku")
    parser.add_argument("--work", type=abspath, required=True, help="the folder for reports")
    parser.add_argument("--full", type=abspath, help="runs Autobahn's own suite too, and writes this file")
    parser.add_argument("--python2", type=abspath, help="Python 2.7, for --full")
    parser.add_argument("--python2-base", type=abspath, help="where its packages are, for --full")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
