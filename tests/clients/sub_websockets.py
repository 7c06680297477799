"""Subscriber on Python `websockets`: URL LAST OUT ACK_EVERY."""

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from text_form import ORIGIN, SUBPROTOCOL, Subscriber, Violation, note

SETTINGS = {
    "origin": ORIGIN,
    "subprotocols": [SUBPROTOCOL],
    "proxy": None,
    "open_timeout": 2,
    "close_timeout": 1,
    "ping_interval": 0.8,
    "ping_timeout": 1.2,
    "max_size": None,
}


async def attempt(url: str, subscriber: Subscriber) -> None:
    async with connect(url, **SETTINGS) as socket:
        if socket.subprotocol != SUBPROTOCOL:
            raise Violation(f"subprotocol {socket.subprotocol}")
        for message in subscriber.opening():
            await socket.send(message)
        while not subscriber.done:
            for reply in subscriber.receive(await socket.recv()):
                await socket.send(reply)


def refuse_a_close(error: ConnectionClosed) -> None:
    """The proxy only ever cuts: a Close frame from the server has no reason here."""
    if error.rcvd is not None and error.rcvd_then_sent:
        raise Violation(f"closed by the server: {error.rcvd}") from error


async def main() -> None:
    url, last, out, ack_every = sys.argv[1:]
    subscriber = Subscriber(int(last), out, int(ack_every))
    while not subscriber.done:
        try:
            await attempt(url, subscriber)
        except ConnectionClosed as error:
            refuse_a_close(error)
            note(f"cut: {error!r}")
        except (OSError, EOFError, TimeoutError, InvalidHandshake, InvalidMessage) as error:
            note(f"not open: {error!r}")
            await asyncio.sleep(0.02)
    subscriber.finish()


if __name__ == "__main__":
    asyncio.run(main())
