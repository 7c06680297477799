"""What is right: compares what a client wrote down with the file that was published, and the cuts with the plan."""

from collections import Counter

from plan import MODES
from proxy import ATTACH_MESSAGES, CuttingProxy


def received(path: str, lines: list[str]) -> list[str]:
    """Problems with what a subscriber took in; none means every line exactly once and in order."""
    with open(path, encoding="utf-8", newline="\n") as file:
        got = file.read().split("\n")[:-1]
    wanted = [f"{number}:{line}" for number, line in enumerate(lines, 1)]
    if got == wanted:
        return []
    counts = Counter(got)
    twice = sum(count - 1 for count in counts.values() if count > 1)
    missing = sum(1 for line in wanted if line not in counts)
    foreign = sum(1 for line in counts if line not in set(wanted)) if missing else 0
    pairs = zip(got + [None] * len(wanted), wanted)
    index, (have, want) = next((at, pair) for at, pair in enumerate(pairs) if pair[0] != pair[1])
    have, want = (text if text is None else text[:120] for text in (have, want))
    return [
        f"{len(got)} lines for {len(wanted)}: {twice} repeated, {missing} missing, {foreign} that were never published; "
        f"first difference at {index + 1}: {have!r} for {want!r}"
    ]


def head(notes: list[str], lines: list[str]) -> list[str]:
    """The log must end where the file ends: a line published twice shows here."""
    heads = [note.removeprefix("head ") for note in notes if note.startswith("head ")]
    return [] if heads and heads[0] == str(len(lines)) else [f"the log's head is {heads}, the file has {len(lines)} lines"]


def cuts(proxy: CuttingProxy, data_cuts: int) -> list[str]:
    """Every planned cut happened, of every kind, inside frames too, and while both directions moved."""
    problems = []
    if proxy.open_cuts:
        problems.append(f"{len(proxy.open_cuts)} planned cuts did not happen; the first: {proxy.open_cuts[0]}")
    data = [done for done in proxy.done if done.cut.stage == "data"]
    if len(data) != data_cuts:
        problems.append(f"{len(data)} cuts while data moved, {data_cuts} wanted")
    still = [done for done in data if min(done.messages_up, done.messages_down) <= ATTACH_MESSAGES]
    if still:
        problems.append(f"{len(still)} cuts while a direction stood still; the first: {still[0]}")
    if data_cuts >= 10:
        lacking = [mode for mode in MODES if all(done.cut.mode != mode for done in data)]
        if lacking:
            problems.append(f"no cut by {lacking}")
        if not any(done.place in ("header", "payload") for done in data):
            problems.append("no cut inside a frame")
    return problems
