"""Shows that the checks can fail: a server that echoes whatever it gets is noticed, and a report that is not whole."""

import argparse
import asyncio
import base64
import hashlib
import json
import sys
import tempfile
from os.path import abspath
from pathlib import Path

import cases
import judge
from suites import Kosoku, ProgramError

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# Sections that the careless server is asked for, with what must be noticed there and what it does well.
CARELESS = {
    "6.3.1": False,  # UTF-8 that is not valid
    "7.9.3": False,  # a code that nobody may send
    "1.1.2": True,
}


async def careless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends each frame back as it came, whatever is in it; ends behind a Close."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:")).split()[-1]
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        upgrade = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        writer.write(upgrade + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        opcode = None
        while opcode != 8:
            first, length = await reader.readexactly(2)
            opcode = first & 0xF
            if (length := length & 0x7F) == 126:
                length = int.from_bytes(await reader.readexactly(2))
            mask = await reader.readexactly(4)
            payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(await reader.readexactly(length)))
            size = bytes([length]) if length < 126 else bytes([126]) + length.to_bytes(2)
            writer.write(bytes([first]) + size + payload)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def notices_a_careless_server(kosoku: str) -> list[str]:
    server = await asyncio.start_server(careless, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    with tempfile.TemporaryDirectory() as work:
        folder = await Kosoku(kosoku, Path(work)).test_server(f"ws://{host}:{port}/", tuple(CARELESS))
        problems = judge.read(folder, list(CARELESS)).problems
    server.close()
    noticed = {problem.split(":")[0] for problem in problems}
    wanted = {case for case, good in CARELESS.items() if not good}
    return [] if noticed == wanted else [f"the careless server: noticed {noticed}, not {wanted}", *problems]


async def notices_a_server_that_is_not_there(kosoku: str) -> list[str]:
    with tempfile.TemporaryDirectory() as work:
        try:
            folder = await Kosoku(kosoku, Path(work)).test_server("ws://127.0.0.1:1/", ("1.1.1",))
        except ProgramError:
            return []
        return [] if judge.read(folder, ["1.1.1"]).problems else ["a server that is not there passes"]


def judges() -> list[str]:
    """Reports that are made up: only the whole one is good."""
    whole = {case: entry(*(judge.OPEN if case in cases.INFORMATIONAL else judge.GOOD)) for case in cases.expected()}
    reports = {
        "": whole,
        "9.6.6: was not run": {case: found for case, found in whole.items() if case != "9.6.6"},
        "12.1.1: nobody expects it": whole | {"12.1.1": entry("OK", "OK")},
        "3.2: messages NON-STRICT, end OK": whole | {"3.2": entry("NON-STRICT", "OK")},
        "5.1: messages FAILED, end OK": whole | {"5.1": entry("FAILED", "OK")},
        "7.7.1: messages OK, end WRONG CODE": whole | {"7.7.1": entry("OK", "WRONG CODE")},
        "1.1.1: messages INFORMATIONAL, end INFORMATIONAL": whole | {"1.1.1": entry(*judge.OPEN)},
        "7.1.6: messages FAILED, end UNCLEAN": whole | {"7.1.6": entry("FAILED", "UNCLEAN")},
    }
    wrong = []
    for wanted, by_case in reports.items():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "index.json").write_text(json.dumps({"agent": by_case}))
            problems = judge.read(Path(folder), cases.expected()).problems
        if problems != ([wanted] if wanted else []):
            wrong.append(f"a report with {wanted!r}: {problems}")
    with tempfile.TemporaryDirectory() as folder:
        if not judge.read(Path(folder), []).problems:
            wrong.append("a folder without a report passes")
    return wrong


def entry(messages: str, end: str) -> dict:
    return {"behavior": messages, "behaviorClose": end}


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kosoku", type=abspath, required=True, help="the program kosoku")
    kosoku = parser.parse_args().kosoku
    wrong = judges() + await notices_a_careless_server(kosoku) + await notices_a_server_that_is_not_there(kosoku)
    print("self-test:", *(wrong or ["ok"]), sep="\n" if wrong else " ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
