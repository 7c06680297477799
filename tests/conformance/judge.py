"""What is right: every case was run, and each has the best verdict there is."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import cases

GOOD = ("OK", "OK")
OPEN = ("INFORMATIONAL", "INFORMATIONAL")


@dataclass
class Verdicts:
    """One suite's report on one of our sides."""

    by_case: dict[str, dict] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def count(self, group: str) -> tuple[int, int]:
        """How many cases of a group are OK, and how many informational."""
        verdicts = [pair(entry) for case, entry in self.by_case.items() if cases.group(case) == group]
        return verdicts.count(GOOD), verdicts.count(OPEN)


def read(folder: Path, expected: list[str]) -> Verdicts:
    """Reads a report's index, which names each case with its two verdicts: on the messages, and on the end."""
    index = folder / "index.json"
    if not index.exists():
        return Verdicts(problems=[f"no report was written to {folder}"])
    agents = json.loads(index.read_text())
    if len(agents) != 1:
        return Verdicts(problems=[f"{index} reports on {sorted(agents)}, not on one"])
    (by_case,) = agents.values()
    return Verdicts(by_case, judge(folder, by_case, expected))


def judge(folder: Path, by_case: dict[str, dict], expected: list[str]) -> list[str]:
    problems = [f"{case}: was not run" for case in cases.in_order(set(expected) - set(by_case))]
    problems += [f"{case}: nobody expects it" for case in cases.in_order(set(by_case) - set(expected))]
    for case in cases.in_order(by_case):
        wanted = OPEN if case in cases.INFORMATIONAL else GOOD
        if pair(by_case[case]) != wanted:
            problems.append(explain(folder, case, by_case[case]))
    return problems


def pair(entry: dict) -> tuple[str, str]:
    return entry["behavior"], entry["behaviorClose"]


def explain(folder: Path, case: str, entry: dict) -> str:
    text = f"{case}: messages {entry['behavior']}, end {entry['behaviorClose']}"
    details = folder / entry.get("reportfile", "")
    if not details.is_file():
        return text
    found = json.loads(details.read_text())
    keys = ("expectation", "expected", "received", "result", "resultClose")
    lines = [f"{key}: {short(found.get(key))}" for key in keys]
    codes = f"close codes: theirs {found.get('localCloseCode')}, ours {found.get('remoteCloseCode')}"
    return "\n      ".join([text, *lines, codes, f"more in {details.with_suffix('.html')}"])


def short(value) -> str:
    text = str(value)
    return text if len(text) <= 300 else f"{text[:300]} …"
