"""Chromium as a client: echo, close codes, origins, and streams that are followed over cuts and restarts."""

import argparse
import asyncio
import os
import random
import re
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from os.path import abspath
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE.parent / name) for name in ("clients", "common")]
import judge  # noqa: E402
import plan  # noqa: E402
from fake_server import FakeServer  # noqa: E402
from pages import Site  # noqa: E402
from plan import Cut  # noqa: E402
from programs import Background, ProgramError  # noqa: E402
from proxy import CuttingProxy  # noqa: E402
from scripted import TAKEN, ScriptedServer  # noqa: E402
from servers import Weirline  # noqa: E402

DEADLINE_SECONDS = 120.0
EXIT_SECONDS = 20.0
LINES = 2000
CUTS = 10
PLANTED_LINES = 400
PLANTED_CUTS = 6
SEED = 1

# The first cuts come while a connection begins: within its 101 and the server's first messages.
BEGIN_CUTS = 2
BEGIN_BYTES = 250

# The page takes what a server with this bug gives, and the harness must notice it by this sign.
PLANTED = {
    None: None,
    "repeats-after-resume": "1 repeated",
    "skips-after-resume": "1 missing",
    "swaps-two": "first difference at 151",
    "changes-a-byte": "1 that were never published",
}


class World:
    """The servers, and what the page asks for while it runs."""

    def __init__(self, options: argparse.Namespace, stack: AsyncExitStack, work: Path) -> None:
        self._options = options
        self._stack = stack
        self._work = work
        self.lines = plan.lines(SEED, LINES)
        # The second is longer: an offset alone would not tell that it is another.
        self.lives = (plan.lines(SEED + 1, 30), plan.lines(SEED + 2, 50))
        self.problems: list[str] = []
        self.proxies: dict[str, CuttingProxy] = {}
        self._scripted = ScriptedServer()

    async def build(self) -> Site:
        """Starts everything; the site that is returned has the plan for the page."""
        enter = self._stack.enter_async_context
        site, foreign = await enter(Site(self._ask)), await enter(Site(self._ask))
        here, there = (f"http://127.0.0.1:{each.port}" for each in (site, foreign))
        # A restart has to be another life.
        serve = ("serve", "--echo", "--origin", here, "--durability", "memory")
        self._main = await enter(Weirline(self._options.server, self._work, *serve))
        self._mortal = await enter(Weirline(self._options.server, self._work, *serve))
        lenient = await enter(Weirline(self._options.server, self._work, "dev"))
        await self._main.publish("followed", self.lines[: LINES // 2])
        await self._mortal.publish("life", self.lives[0])
        refused = {"opened": False, "code": 1006}
        opened = {"opened": True, "code": 1000}
        echo, localhost = self._main.url("/echo"), f"http://localhost:{site.port}"
        site.plan = {
            "echo": echo,
            "stream": self._main.url("/v1/streams/quiet"),
            "counted": await self._through("counted", self._main.address, [], "/echo"),
            "cutByReset": await self._through("reset", self._main.address, [Cut("attach", "rst", down=5000)], "/echo"),
            "cutByEnd": await self._through("end", self._main.address, [Cut("attach", "fin", down=5000)], "/echo"),
            "origins": [
                {"page": f"{here}/frame.html", "url": echo, **opened},
                {"page": f"{there}/frame.html", "url": echo, **refused},
                {"page": f"{localhost}/frame.html", "url": echo, **refused},
                {"page": f"{there}/frame.html", "url": lenient.url("/echo"), **opened},
            ],
            "followed": {
                "url": await self._through("followed", self._main.address, cuts(CUTS, 8000), "/v1/streams/followed"),
                "half": LINES // 2,
                "last": LINES,
            },
            "restarted": {
                "echo": self._mortal.url("/echo"),
                "stream": self._mortal.url("/v1/streams/life"),
                "first": len(self.lives[0]),
                "second": len(self.lives[1]),
            },
            "scripted": await enter(self._scripted),
            "nobody": "ws://127.0.0.1:1/v1/streams/nobody",
            "planted": {str(bug): await self._planted(bug) for bug in PLANTED},
        }
        return site

    async def _through(self, name: str, address: tuple[str, int], planned: list[Cut], path: str) -> str:
        proxy = self.proxies[name] = CuttingProxy(address, planned, name)
        port = await proxy.start()
        self._stack.push_async_callback(proxy.stop)
        return f"ws://127.0.0.1:{port}{path}"

    async def _planted(self, bug: str | None) -> dict:
        server = FakeServer(bug)
        address = await server.start()
        self._stack.push_async_callback(server.stop)
        for line in plan.lines(SEED, PLANTED_LINES):
            server.streams["planted"].append(line)
        url = await self._through(f"planted {bug}", address, cuts(PLANTED_CUTS, 1500), "/v1/streams/planted")
        return {"url": url, "last": PLANTED_LINES}

    async def _ask(self, what: str) -> None:
        try:
            if what == "publish":
                await self._main.publish("followed", self.lines[LINES // 2 :])
            elif what == "restart":
                await self._mortal.stop()
                await self._mortal.start()
                await self._mortal.publish("life", self.lives[1])
            else:
                raise ProgramError(f"the page asks for {what}")
        except (ProgramError, TimeoutError) as error:
            self.problems.append(f"{what}: {error!r}")

    def judge(self, report: dict) -> list[str]:
        """What was wrong with the servers, the cuts, and what the page took."""
        problems = [*self.problems, *self._scripted.problems, *missing(report["results"])]
        told = report["told"]
        problems += compare("the stream over cuts", told.get("followed"), self.lines)
        first, second = self.lives
        numbered = [f"{number}:{line}" for life in (first, second) for number, line in enumerate(life, 1)]
        if told.get("restarted") != numbered:
            problems.append(f"the stream over a restart: {told.get('restarted')}")
        if told.get("scripted") != TAKEN:
            problems.append(f"scripted: {told.get('scripted')}, not {TAKEN}")
        for bug, sign in PLANTED.items():
            taken = told.get("planted", {}).get(str(bug))
            found = compare(f"planted {bug}", taken, plan.lines(SEED, PLANTED_LINES))
            if (sign is None and found) or (sign is not None and not any(sign in problem for problem in found)):
                problems.append(f"planted {bug}: {sign} expected, {found or 'nothing'} noticed")
        for name, proxy in self.proxies.items():
            if proxy.open_cuts:
                problems.append(f"{name}: {len(proxy.open_cuts)} cuts did not happen")
        flows = self.proxies["counted"].current.flows
        problems += [f"no fragments went {way}" for way, flow in flows.items() if not flow.tracker.continuations]
        return problems


def cuts(count: int, bytes_max: int) -> list[Cut]:
    """By reset and by the end of both directions in turn, at any byte. A browser cannot notice silence."""
    rng = random.Random(f"{SEED}/{count}/{bytes_max}")
    limits = [BEGIN_BYTES] * BEGIN_CUTS + [bytes_max] * (count - BEGIN_CUTS)
    return [Cut("attach", ("rst", "fin")[at % 2], down=rng.randint(1, limit)) for at, limit in enumerate(limits)]


def compare(what: str, taken: list[str] | None, lines: list[str]) -> list[str]:
    if taken is None:
        return [f"{what}: nothing was reported"]
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="\n") as file:
        file.write("".join(f"{line}\n" for line in taken))
        file.flush()
        return [f"{what}: {problem}" for problem in judge.received(file.name, lines)]


def missing(results: dict[str, str | None]) -> list[str]:
    """A case that was not run has not passed; neither has one that failed."""
    names = re.findall(r'^  async "(.+)"\(', (HERE / "cases.mjs").read_text(), re.MULTILINE)
    problems = [f"{name}: was not run" for name in names if name not in results]
    return problems + [f"{name}: {problem}" for name, problem in results.items() if problem is not None]


def documented(document: Path) -> list[str]:
    """What the document shows is what is tested here."""
    code = (HERE / "follow.js").read_text()
    return [] if f"```js\n{code}```\n" in document.read_text() else [f"{document} does not show follow.js as it is"]


@asynccontextmanager
async def chromium(program: str, url: str, work: Path, screenshot: str | None):
    """A fresh profile, no window, and nothing that looks for a network."""
    command = [program, "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={work / 'profile'}", "--window-size=900,700"]
    if os.geteuid() == 0:
        # The sandbox refuses to run as root; the pages are ours.
        command.append("--no-sandbox")
    if screenshot:
        command.append(f"--screenshot={screenshot}")
    async with Background([*command, url], {}, work) as browser:
        yield browser
        if screenshot:
            await browser.ended(EXIT_SECONDS)


async def main() -> int:
    options = parse()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="weirline-browser-", ignore_cleanup_errors=True) as folder:
        async with AsyncExitStack() as stack:
            world = World(options, stack, Path(folder))
            site = await world.build()
            url = f"http://127.0.0.1:{site.port}/page.html"
            async with chromium(options.chromium, url, Path(folder), options.screenshot) as browser:
                try:
                    async with asyncio.timeout(DEADLINE_SECONDS):
                        report = await asyncio.shield(site.report)
                except TimeoutError:
                    print(f"FAILED: the page did not report\n{browser.last_words()}", *world.problems, sep="\n")
                    return 1
            problems = world.judge(report) + documented(Path(options.document))
    for name, problem in report["results"].items():
        print(f"{'ok' if problem is None else 'FAILED':6}  {name}")
    print(f"{report['agent']}: {time.monotonic() - started:.1f} s: {'FAILED' if problems else 'ok'}", *problems, sep="\n")
    return 1 if problems else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", type=abspath, required=True, help="the weirline binary")
    parser.add_argument("--chromium", required=True, help="the browser")
    parser.add_argument("--document", type=abspath, required=True, help="the document that shows follow.js")
    parser.add_argument("--screenshot", type=abspath, help="where to put a picture of the page when it is done")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
