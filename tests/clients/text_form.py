"""The text form of the resume protocol, as a user would write it: no I/O, and no checks that a user would not make.

What arrives is written down as it comes; whether it is right is judged from outside, in `judge.py`.
"""

import re
import secrets
import sys

SUBPROTOCOL = "weirline.v1.text"
ORIGIN = "http://clients.example"


class Violation(Exception):
    """The server said what it may not say; no reconnecting helps."""


class Subscriber:
    """Takes in a stream up to offset `last`, over any number of connections."""

    def __init__(self, last: int, out: str, ack_every: int) -> None:
        self.last = last
        self.ack_every = ack_every
        self.position = 0
        self.epoch: str | None = None
        self.attached = False
        self.out = open(out, "w", buffering=1, encoding="utf-8", newline="\n")

    def opening(self) -> list[str]:
        self.attached = False
        at = "" if self.epoch is None else f"@{self.epoch}"
        note(f"from {self.position}{at}")
        return [f"RESUME_FROM:{self.position}{at}"]

    def receive(self, message: str) -> list[str]:
        if not self.attached:
            return self._attach(message)
        number, colon, line = message.partition(":")
        if not colon or not number.isdigit():
            raise Violation(f"at {self.position}: {message[:200]!r}")
        self.out.write(f"{number}:{line}\n")
        self.position = int(number)
        due = self.position % self.ack_every == 0 or self.done
        return [f"ACK:{self.position}"] if due else []

    def _attach(self, message: str) -> list[str]:
        if message == "RESUME_FROM:0":
            return []
        found = re.fullmatch(r"RESUMED:(\d+):(\d+)@(\S+)", message)
        if found is None or int(found[1]) != self.position or self.epoch not in (None, found[3]):
            raise Violation(f"asked for {self.position}@{self.epoch}, answered {message[:200]!r}")
        self.attached = True
        self.epoch = found[3]
        note(f"head {found[2]}")
        return [f"ACK:{self.position}"] if self.position else []

    @property
    def done(self) -> bool:
        return self.position >= self.last

    def finish(self) -> None:
        self.out.close()
        note(f"done at {self.position}")


class Publisher:
    """Publishes lines in order, with at most `window` unacknowledged, over any number of connections."""

    def __init__(self, lines: list[str], window: int) -> None:
        self.lines = lines
        self.window = window
        self.secret = ""
        self.attach = 0
        self.answered = False
        self.attached = False
        self.acked = 0
        self.sent = 0
        self.next = 1

    def opening(self) -> list[str]:
        if not self.answered:
            # Nobody ever answered under the old secret, so nothing was published under it.
            self.secret, self.attach = secrets.token_urlsafe(24), 0
        self.attach += 1
        self.attached = False
        note(f"attach {self.attach}, {self.acked} acknowledged")
        return [f"SESSION:{self.secret}:{self.attach}", "RESUME_FROM:none"]

    def receive(self, message: str) -> None:
        found = re.fullmatch(r"RESUME_FROM:(\d+)" if not self.attached else r"ACK:(\d+)", message)
        if found is None or not self.acked <= int(found[1]) <= self.sent:
            raise Violation(f"{self.acked} acknowledged, {self.sent} sent, answered {message[:200]!r}")
        self.acked = int(found[1])
        if not self.attached:
            self.attached = self.answered = True
            self.next = self.acked + 1

    def sendable(self) -> list[str]:
        if not self.attached:
            return []
        end = min(self.acked + self.window, len(self.lines))
        numbers = range(self.next, end + 1)
        self.next = max(self.next, end + 1)
        self.sent = max(self.sent, end)
        return [f"{number}:{self.lines[number - 1]}" for number in numbers]

    @property
    def done(self) -> bool:
        return self.acked == len(self.lines)


def note(text: str) -> None:
    """The runner shows the last notes of a client that fails or hangs."""
    print(text, file=sys.stderr, flush=True)


def read_lines(path: str) -> list[str]:
    with open(path, encoding="utf-8", newline="\n") as file:
        return file.read().split("\n")[:-1]
