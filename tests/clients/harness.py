"""Runs clients as processes, each through a proxy of its own, against one server, and collects what was wrong."""

import asyncio
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import judge
import plan
from proxy import CuttingProxy

HERE = Path(__file__).parent
NOTES_SHOWN = 12


@dataclass
class Settings:
    server: tuple[str, int]
    node_folder: str
    work: Path
    lines: list[str]
    cuts: int
    seed: int
    deadline: float
    ack_every: int = 8
    window: int = 32
    # The plan of cuts counts on so many times the bytes that there are; the self-test makes it wrong.
    volume_factor: int = 1
    # Set when a client gave up: the others would only wait for what never comes.
    failed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def attach_cuts(self) -> int:
        return self.cuts // 5


@dataclass
class Result:
    """How one client did; good when `problems` is empty."""

    name: str
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    proxy: CuttingProxy | None = None


SUBSCRIBERS = {
    "sub websockets": "sub_websockets.py",
    "sub websocket-client": "sub_websocket_client.py",
    "sub ws (node)": "sub_ws.mjs",
}
SESSIONS = {"session websockets": "session_websockets.py", "session ws (node)": "session_ws.mjs"}
PUBLISHERS = {"pub websockets": "pub_websockets.py", "pub ws (node)": "pub_ws.mjs"}


async def subscribe(settings: Settings, name: str, stream: str) -> Result:
    """A subscriber through a cutting proxy."""
    size = len(settings.lines)
    volume = plan.Volume(up=size // settings.ack_every * 10, down=volume_of(settings, header=2))
    out = settings.work / f"{name.replace(' ', '-')}-{stream}.txt"
    arguments = [str(size), str(out), str(settings.ack_every)]
    result = await through_proxy(settings, name, SUBSCRIBERS[name], stream, arguments, volume, "down")
    if out.exists():
        result.problems += judge.received(str(out), settings.lines)
    return result


async def publish(settings: Settings, name: str, stream: str) -> Result:
    """A publisher with a session through a cutting proxy."""
    acks = len(settings.lines) // settings.window
    volume = plan.Volume(up=volume_of(settings, header=6), down=acks * 8)
    file = settings.work / "lines.txt"
    arguments = [str(file), str(settings.window)]
    return await through_proxy(settings, name, PUBLISHERS[name], stream, arguments, volume, "up")


async def both(settings: Settings, stream: str) -> Result:
    """A publisher that subscribes to what it publishes, on one connection, through a cutting proxy."""
    name, size = "both websockets", len(settings.lines)
    volume = plan.Volume(up=volume_of(settings, header=6), down=volume_of(settings, header=2))
    out = settings.work / f"{name.replace(' ', '-')}-{stream}.txt"
    arguments = [str(settings.work / "lines.txt"), str(settings.window), str(size), str(out), str(settings.ack_every)]
    result = await through_proxy(settings, name, "both_websockets.py", stream, arguments, volume, "up")
    if out.exists():
        result.problems += judge.received(str(out), settings.lines)
    return result


async def session(settings: Settings, name: str, stream: str) -> Result:
    """A session of the JSON form that publishes and subscribes, through a cutting proxy."""
    volume = plan.Volume(up=volume_of(settings, header=6), down=volume_of(settings, header=2))
    out = settings.work / f"{name.replace(' ', '-')}-{stream}.txt"
    arguments = [stream, str(settings.work / "lines.txt"), str(out)]
    result = await through_proxy(settings, name, SESSIONS[name], None, arguments, volume, "up")
    if out.exists():
        result.problems += judge.received(str(out), settings.lines)
    return result


async def fresh(settings: Settings, stream: str) -> Result:
    """A subscriber from 0, not cut, after the publisher is done: what does the log hold?"""
    name = f"log of {stream}"
    out = settings.work / f"{stream}-log.txt"
    arguments = [url(settings.server, stream), str(len(settings.lines)), str(out), "100"]
    result = Result(name)
    await run_client(settings, result, "sub_websockets.py", arguments)
    result.problems += judge.received(str(out), settings.lines) if out.exists() else []
    result.problems += judge.head(result.notes, settings.lines)
    return result


async def through_proxy(
    settings: Settings, name: str, script: str, stream: str | None, arguments: list[str], volume: plan.Volume, main: str
) -> Result:
    cuts = plan.make(settings.seed, f"{name}/{stream}", settings.cuts, settings.attach_cuts, volume, main)
    proxy = CuttingProxy(settings.server, cuts, f"{settings.seed}/{name}")
    result = Result(name, proxy=proxy)
    port = await proxy.start()
    try:
        await run_client(settings, result, script, [url(("127.0.0.1", port), stream), *arguments])
    finally:
        await proxy.stop()
    result.problems += judge.cuts(proxy, settings.cuts)
    return result


async def run_client(settings: Settings, result: Result, script: str, arguments: list[str]) -> None:
    """Runs a client to its end or to the deadline; a client that hangs is ended and its state is the problem."""
    interpreter = ["node"] if script.endswith(".mjs") else [sys.executable, "-B", "-u"]
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *interpreter,
        str(HERE / script),
        *arguments,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 20,
        env={**os.environ, "WEIRLINE_NODE_FOLDER": settings.node_folder},
    )
    try:
        async with asyncio.timeout(settings.deadline):
            code = await first(watch(process, result), settings.failed.wait())
        if code is True:
            result.problems.append(f"ended because another client failed{state(result)}")
        elif code != 0:
            result.problems.append(f"{script} ended with {code}")
            settings.failed.set()
    except TimeoutError:
        result.problems.append(f"{script} was not done after {settings.deadline:.0f} s{state(result)}")
        settings.failed.set()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        result.seconds = time.monotonic() - started


async def watch(process: asyncio.subprocess.Process, result: Result) -> int:
    async for line in process.stderr:
        result.notes.append(line.decode(errors="replace").rstrip())
    return await process.wait()


async def first(*coroutines):
    """What the first of them returns; the others are cancelled."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()


def state(result: Result) -> str:
    return "" if result.proxy is None else f"; proxy: {result.proxy.state()}"


def url(server: tuple[str, int], stream: str | None) -> str:
    """Of one stream as text, or of a session with many."""
    return f"ws://{server[0]}:{server[1]}/v1/{'ws' if stream is None else f'streams/{stream}'}"


def volume_of(settings: Settings, header: int) -> int:
    """At the least: a long line counts little, since one connection may have to carry it whole."""
    lines = enumerate(settings.lines, 1)
    return settings.volume_factor * sum(min(len(line.encode()), 500) + len(f"{number}:") + header for number, line in lines)


def write_lines(work: Path, lines: list[str]) -> None:
    (work / "lines.txt").write_bytes("".join(f"{line}\n" for line in lines).encode())


def table(results: list[Result]) -> str:
    rows = [("client", "data cuts", "rst/fin/silence", "in frames", "attach cuts", "connections", "time", "verdict")]
    for result in results:
        rows.append((result.name, *cut_columns(result.proxy), f"{result.seconds:.1f} s", verdict(result)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def cut_columns(proxy: CuttingProxy | None) -> tuple[str, ...]:
    if proxy is None:
        return ("-",) * 5
    data = [done for done in proxy.done if done.cut.stage == "data"]
    modes = Counter(done.cut.mode for done in data)
    inside = sum(done.place in ("header", "payload") for done in data)
    attach = len(proxy.done) - len(data)
    kinds = "/".join(str(modes[mode]) for mode in plan.MODES)
    return str(len(data)), kinds, str(inside), str(attach), str(proxy.connections)


def verdict(result: Result) -> str:
    return "ok" if not result.problems else "FAILED"


def explain(results: list[Result]) -> str:
    text = []
    for result in results:
        if result.problems:
            text.append(f"{result.name}:")
            text += [f"    {problem}" for problem in result.problems]
            text += [f"    | {note[:300]}" for note in result.notes[-NOTES_SHOWN:]]
    return "\n".join(text)
