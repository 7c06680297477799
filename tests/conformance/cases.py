"""The cases that must be run: a suite that leaves some out has not passed."""

# How many cases each section has. Sections 12 and 13 are about permessage-deflate, which is not offered.
SECTIONS = {
    "1.1": 8, "1.2": 8,
    "2": 11,
    "3": 7,
    "4.1": 5, "4.2": 5,
    "5": 20,
    "6.1": 3, "6.2": 4, "6.3": 2, "6.4": 4, "6.5": 5, "6.6": 11, "6.7": 4, "6.8": 2, "6.9": 4, "6.10": 3, "6.11": 5,
    "6.12": 8, "6.13": 5, "6.14": 10, "6.15": 1, "6.16": 3, "6.17": 5, "6.18": 5, "6.19": 5, "6.20": 7, "6.21": 8,
    "6.22": 34, "6.23": 7,
    "7.1": 6, "7.3": 6, "7.5": 1, "7.7": 13, "7.9": 9, "7.13": 2,
    "9.1": 6, "9.2": 6, "9.3": 9, "9.4": 9, "9.5": 6, "9.6": 6, "9.7": 6, "9.8": 6,
    "10.1": 1,
}

# What a section is about, in our words.
SUBJECTS = {
    "1": "texts and binary messages of every form of length",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "reserved opcodes",
    "5": "fragments, and control frames between them",
    "6": "UTF-8, valid and not, cut anywhere",
    "7": "the closing handshake, its codes and reasons",
    "9": "messages up to 16 MiB, in frames and writes of many sizes, and 1,000 messages in a row",
    "10": "one message in as many frames as the peer likes",
}

# Cases that no implementation can pass or fail: the RFC leaves their outcome open.
INFORMATIONAL = {
    "7.1.6": "256 KiB, a Close and a ping at once: how much is echoed before the Close is left open",
    "7.13.1": "a Close with the code 5000, above all that are defined",
    "7.13.2": "a Close with the code 65535, the highest there is",
}

EXCLUDED = ("12.*", "13.*")


def expected() -> list[str]:
    """The names of all cases, in order."""
    return [f"{section}.{number + 1}" for section, count in SECTIONS.items() for number in range(count)]


def group(case: str) -> str:
    return case.split(".")[0]


def in_order(cases) -> list[str]:
    return sorted(cases, key=lambda case: [int(part) for part in case.split(".")])
