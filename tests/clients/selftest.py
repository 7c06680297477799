"""Shows that the checks can fail: a server without a bug passes, each planted bug is noticed, and so is a plan of
cuts that does not come about."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import harness
import plan
from fake_server import BUGS, FakeServer
from harness import Settings

LINES = 400
CUTS = 4
SEED = 7
AT_A_TIME = 8

# What each bug must be noticed by: a part of a problem that somebody reports, or one of several.
SIGNS = {
    None: None,
    "repeats-after-resume": "1 repeated",
    "skips-after-resume": "1 missing",
    "swaps-two": "first difference at 151",
    "changes-a-byte": "1 that were never published",
    "forgets-the-session": ("head is", "ended with"),
    "loses-a-publish": "head is",
    "stops-after-resume": "not done after",
    "acks-too-much": "ended with",
    "resets": "ended with",
}

# With these a client waits for ever, so its deadline is what the case takes.
HANGS = ("stops-after-resume", "loses-a-publish")


async def run_case(bug: str | None, node_folder: str) -> list[harness.Result]:
    server = FakeServer(bug)
    address = await server.start()
    with tempfile.TemporaryDirectory() as work:
        lines = plan.lines(SEED, LINES)
        harness.write_lines(Path(work), lines)
        deadline = 8 if bug in HANGS else 60
        settings = Settings(address, node_folder, Path(work), lines, CUTS, SEED, deadline, ack_every=4, window=8)
        publisher = "pub websockets" if bug != "acks-too-much" else "pub ws (node)"
        names = list(harness.SUBSCRIBERS) if bug is None else ["sub websockets"]
        publishing = [harness.publish(settings, publisher, "s")]
        if bug is None:
            publishing.append(harness.publish(settings, "pub ws (node)", "t"))
        results = await asyncio.gather(*publishing, *(harness.subscribe(settings, name, "s") for name in names))
        settings.failed.clear()
        if not any("ended with" in problem for result in results for problem in result.problems):
            results.append(await harness.fresh(settings, "s"))
    await server.stop()
    return results


def noticed(bug: str | None, results: list[harness.Result]) -> str | None:
    """`None` when the outcome is as it should be."""
    problems = [problem for result in results for problem in result.problems]
    signs = SIGNS[bug]
    if signs is None:
        return None if not problems else harness.explain(results)
    signs = (signs,) if isinstance(signs, str) else signs
    return None if any(sign in problem for sign in signs for problem in problems) else f"no {signs} in {problems}"


async def missing_cuts(node_folder: str) -> str | None:
    """A plan that needs more bytes than there are must fail, although every line arrives."""
    server = FakeServer(None)
    address = await server.start()
    with tempfile.TemporaryDirectory() as work:
        lines = plan.lines(SEED, 60)
        harness.write_lines(Path(work), lines)
        settings = Settings(address, node_folder, Path(work), lines, 0, SEED, 60)
        await harness.publish(settings, "pub websockets", "s")
        settings.cuts, settings.volume_factor = 2, 1000
        result = await harness.subscribe(settings, "sub websockets", "s")
    await server.stop()
    return None if any("did not happen" in problem for problem in result.problems) else f"{result.problems}"


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node-folder", required=True)
    node_folder = parser.parse_args().node_folder
    assert set(SIGNS) == {None, *BUGS}
    gate = asyncio.Semaphore(AT_A_TIME)

    async def check(name: str, verdict) -> bool:
        async with gate:
            wrong = await verdict()
        print(f"selftest: {name}: {'as it should be' if wrong is None else f'WRONG: {wrong}'}")
        return wrong is None

    async def planted(bug: str | None) -> str | None:
        return noticed(bug, await run_case(bug, node_folder))

    checks = [check("cuts that never come", lambda: missing_cuts(node_folder))]
    checks += [check(bug or "a server without a bug", lambda bug=bug: planted(bug)) for bug in SIGNS]
    return 0 if all(await asyncio.gather(*checks)) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
