"""The JSON form on Python `websockets`: URL STREAM FILE OUT. Publishes the lines of a file to a stream, and subscribes to it.

Each line is published exactly once and taken in exactly once, however often the connection is cut: `count` says what the server has,
`after` says what is here. (A program for production waits longer between its dials: multiplexed.md, section 10.)
"""

import base64
import json
import os
import sys
import time

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
from websockets.sync.client import connect

from text_form import ORIGIN, note, read_lines

SETTINGS = {"origin": ORIGIN, "subprotocols": ["weirline.v1.json"], "proxy": None, "max_size": None}
SETTINGS |= {"open_timeout": 2, "close_timeout": 1, "ping_interval": 0.8, "ping_timeout": 1.2}


def talk(socket, stream: str, lines: list[str], known: dict, position: dict, out) -> None:
    known["attach"] = known["attach"] + 1 if "session" in known else 1
    nonce = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
    subscription = {"sub": 1, "stream": stream, **position}
    say = lambda **message: socket.send(json.dumps(message))
    say(t="hello", v=1, nonce=nonce, subs=[subscription], **known)
    acked = limits = None
    while acked != len(lines) or position["after"] < len(lines):
        message = json.loads(socket.recv())
        match message["t"]:
            case "welcome":
                known |= {key: message[key] for key in ("session", "token") if key in message}
                acked, sent, spent = message["count"], message["count"], [0, 0]
                limits = [message["bytes"], message["messages"]]
            case "puback" if "code" not in message:
                acked = max(acked, message["seq"])
            case "credit":
                limits = [message["bytes"], message["messages"]]
            case "subok":
                position |= {"epoch": message["epoch"], "after": message["offset"]}
            case "data":
                out.write(f"{message['offset']}:{message['text']}\n")
                position["after"] = message["offset"]
                say(t="ack", sub=1, epoch=position["epoch"], offset=message["offset"])
            case "ping":
                say(t="pong", echo=message["echo"])
            case _:  # a REJECT, a refused PUB, a GAP, a RESET, DRAIN: none has a reason here
                sys.exit(f"violation: {message}")
        while acked is not None and sent < len(lines) and spent[0] < limits[0] and spent[1] < limits[1]:
            sent += 1
            say(t="pub", seq=sent, stream=stream, text=lines[sent - 1])
            spent = [spent[0] + len(lines[sent - 1].encode()) + 32, spent[1] + 1]


def main() -> None:
    url, stream, file, out_path = sys.argv[1:]
    known, position, done = {"attach": 0}, {"after": 0}, False
    with open(out_path, "w", buffering=1, encoding="utf-8", newline="\n") as out:
        while not done:
            try:
                with connect(url, **SETTINGS) as socket:
                    talk(socket, stream, read_lines(file), known, position, out)
                    done = True
            except (OSError, EOFError, TimeoutError, ConnectionClosed, InvalidHandshake, InvalidMessage) as error:
                note(f"attach {known['attach']}, position {position}: {error!r}")
                time.sleep(0.02)


if __name__ == "__main__":
    main()
