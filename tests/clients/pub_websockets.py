"""Publisher on Python `websockets`, with SESSION: URL FILE WINDOW."""

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from sub_websockets import SETTINGS, refuse_a_close
from text_form import Publisher, note, read_lines


async def attempt(url: str, publisher: Publisher) -> None:
    async with connect(url, **SETTINGS) as socket:
        for message in publisher.opening():
            await socket.send(message)
        while not publisher.done:
            publisher.receive(await socket.recv())
            for message in publisher.sendable():
                await socket.send(message)


async def main() -> None:
    url, file, window = sys.argv[1:]
    publisher = Publisher(read_lines(file), int(window))
    while not publisher.done:
        try:
            await attempt(url, publisher)
        except ConnectionClosed as error:
            refuse_a_close(error)
            note(f"cut: {error!r}")
        except (OSError, EOFError, TimeoutError, InvalidHandshake, InvalidMessage) as error:
            note(f"not open: {error!r}")
            await asyncio.sleep(0.02)
    note(f"done at {publisher.acked}")


if __name__ == "__main__":
    asyncio.run(main())
