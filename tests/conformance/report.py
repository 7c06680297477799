"""Writes `docs/conformance.md`. It names no time and no place, so that it changes only when something did."""

import cases
from judge import Verdicts

HEAD = """# Conformance

Written by `cargo xtask conformance --full`; do not edit.

Two suites play a client against our server's `/echo`, and a server against our client
(`crates/weirline-tokio/examples/conformance.rs`): Autobahn's own, {autobahn} on Python {python2}, and kosoku {kosoku},
which plays the same cases with a faster runner and stands in `cargo xtask test`. Tested: {weirline}.

A run passes when each of the {count} cases was run and has the verdict OK twice: for its messages, and for its end.
NON-STRICT counts as a failure, and so does a case that is missing.
"""

TAIL = """
There are no cases in sections 8 and 11. Sections 12 and 13 are about permessage-deflate, which is not offered.

## Informational cases

The RFC leaves their outcome open, and the suites give them no other verdict. The code of our Close:

"""


def render(results: dict[str, Verdicts], versions: dict[str, str]) -> str:
    """`results` by title of the column."""
    groups = list(dict.fromkeys(cases.group(section) for section in cases.SECTIONS))
    expected = cases.expected()
    lines = [HEAD.format(count=len(expected), **versions)]
    lines.append(row(["", "section", "cases", *results]))
    lines.append(row(["--:", "---", "--:", *("---" for _ in results)]))
    for group in groups:
        count = sum(cases.group(case) == group for case in expected)
        cells = [verdict(verdicts.count(group), count) for verdicts in results.values()]
        lines.append(row([group, cases.SUBJECTS[group], str(count), *cells]))
    totals = [total(verdicts, groups, len(expected)) for verdicts in results.values()]
    lines.append(row(["", "all", str(len(expected)), *totals]))
    return "\n".join(lines) + "\n" + TAIL + informational(results)


def informational(results: dict[str, Verdicts]) -> str:
    lines = [row(["case", "the peer sends", *results]), row(["---", "---", *("--:" for _ in results)])]
    for case, what in cases.INFORMATIONAL.items():
        codes = [str(verdicts.by_case.get(case, {}).get("remoteCloseCode")) for verdicts in results.values()]
        lines.append(row([case, what, *codes]))
    return "\n".join(lines) + "\n"


def total(verdicts: Verdicts, groups: list[str], count: int) -> str:
    sums = [sum(column) for column in zip(*(verdicts.count(group) for group in groups))]
    return verdict((sums[0], sums[1]), count)


def verdict(found: tuple[int, int], count: int) -> str:
    good, open_ = found
    assert good + open_ == count, "only what has passed is written down"
    return f"{good} OK" + (f", {open_} informational" if open_ else "")


def row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
