"""Where and how a client's connections are cut: all of it decided by one seed."""

import random
from dataclasses import dataclass

MODES = ("rst", "fin", "silence")

# An attach is cut within this many bytes of what the server sends: its 101 and its first messages.
ATTACH_BYTES = 190


@dataclass
class Cut:
    """One planned cut. Limits are bytes forwarded in that direction: from the first byte of the connection in
    the stage `attach`, from the end of the HTTP head in the stage `data`. The first limit reached cuts."""

    stage: str
    mode: str
    up: int | None = None
    down: int | None = None


@dataclass
class Volume:
    """How many bytes of frames a client must move to be done, in each direction, at the least."""

    up: int
    down: int


def make(seed: int, name: str, cuts: int, attach_cuts: int, volume: Volume, main: str) -> list[Cut]:
    """A plan whose cuts are all reached before the work is done.

    A connection makes progress by at most the bytes that it forwards in the main direction (`up` for a publisher).
    Each may forward at most its share, and the shares leave one over, so the work cannot end before the last cut.
    """
    rng = random.Random(f"{seed}/{name}")
    other = "up" if main == "down" else "down"
    share = getattr(volume, main) // (cuts + 2)
    other_share = max(getattr(volume, other) // (cuts + 2), 24)
    modes = [MODES[index % len(MODES)] for index in range(cuts)]
    rng.shuffle(modes)
    plan = []
    for mode in modes:
        cut = Cut("data", mode)
        if rng.random() < 0.7:
            setattr(cut, main, draw(rng, share))
        else:
            setattr(cut, other, draw(rng, other_share))
            setattr(cut, main, share)
        plan.append(cut)
    for _ in range(attach_cuts):
        cut = Cut("attach", rng.choice(MODES), down=rng.randint(1, ATTACH_BYTES))
        plan.insert(rng.randint(0, len(plan)), cut)
    return plan


def draw(rng: random.Random, share: int) -> int:
    return max(int(share * rng.uniform(0.15, 1.0)), 1)


def lines(seed: int, count: int) -> list[str]:
    """The file: short lines, empty ones, some that look like the protocol, other alphabets, and a few long ones,
    so that frames with all three forms of length occur."""
    rng = random.Random(f"{seed}/lines")
    words = ["weir", "río", "川", "🌊", "ACK:7", "RESUME_FROM:0", "1:2", "", " ", "\t", "ERROR:x:y"]
    out = []
    for index in range(count):
        line = f"{index} " + " ".join(rng.choice(words) for _ in range(rng.randint(0, 8)))
        if rng.random() < 0.01:
            line += "x" * rng.randint(126, 6000)
        if rng.random() < 0.02:
            line = ""
        out.append(line)
    if count > 10:
        out[count // 2] = "long " + "y" * 70_000
    return out
