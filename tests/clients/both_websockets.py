"""Publisher with SESSION and subscriber of the same stream on one connection, on Python `websockets`:
URL FILE WINDOW LAST OUT ACK_EVERY. Data moves in both directions at once."""

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from sub_websockets import SETTINGS, refuse_a_close
from text_form import Publisher, Subscriber, note, read_lines


class Both:
    """Hands each message to the side that it is for."""

    def __init__(self, publisher: Publisher, subscriber: Subscriber) -> None:
        self.publisher = publisher
        self.subscriber = subscriber

    def opening(self) -> list[str]:
        session, _ = self.publisher.opening()
        return [session, *self.subscriber.opening()]

    def receive(self, message: str) -> list[str]:
        if not self.publisher.attached or message.startswith("ACK:"):
            self.publisher.receive(message)
            return self.publisher.sendable() if self.subscriber.attached else []
        first = not self.subscriber.attached
        replies = self.subscriber.receive(message)
        return replies + self.publisher.sendable() if first else replies

    @property
    def done(self) -> bool:
        return self.publisher.done and self.subscriber.done


async def attempt(url: str, both: Both) -> None:
    async with connect(url, **SETTINGS) as socket:
        for message in both.opening():
            await socket.send(message)
        while not both.done:
            for reply in both.receive(await socket.recv()):
                await socket.send(reply)


async def main() -> None:
    url, file, window, last, out, ack_every = sys.argv[1:]
    subscriber = Subscriber(int(last), out, int(ack_every))
    both = Both(Publisher(read_lines(file), int(window)), subscriber)
    while not both.done:
        try:
            await attempt(url, both)
        except ConnectionClosed as error:
            refuse_a_close(error)
            note(f"cut: {error!r}")
        except (OSError, EOFError, TimeoutError, InvalidHandshake, InvalidMessage) as error:
            note(f"not open: {error!r}")
            await asyncio.sleep(0.02)
    subscriber.finish()


if __name__ == "__main__":
    asyncio.run(main())
