"""Subscriber on Python `websocket-client`: URL LAST OUT ACK_EVERY. Offers no subprotocol."""

import sys
import time

import websocket

from text_form import ORIGIN, Subscriber, Violation, note

SILENCE_SECONDS = 1.0


def attempt(url: str, subscriber: Subscriber) -> None:
    socket = websocket.create_connection(url, timeout=2, origin=ORIGIN, http_no_proxy=["127.0.0.1"])
    try:
        for message in subscriber.opening():
            socket.send(message)
        socket.settimeout(SILENCE_SECONDS)
        asked = False
        while not subscriber.done:
            try:
                opcode, data = socket.recv_data(control_frame=True)
            except websocket.WebSocketTimeoutException:
                if asked:
                    raise
                socket.ping("there?")
                asked = True
                continue
            asked = False
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                raise Violation(f"closed by the server: {data!r}")
            if opcode == websocket.ABNF.OPCODE_TEXT:
                for reply in subscriber.receive(data.decode("utf-8")):
                    socket.send(reply)
        socket.close(timeout=1)
    finally:
        socket.shutdown()


def main() -> None:
    url, last, out, ack_every = sys.argv[1:]
    subscriber = Subscriber(int(last), out, int(ack_every))
    while not subscriber.done:
        try:
            attempt(url, subscriber)
        except (OSError, websocket.WebSocketException) as error:
            note(f"cut: {error!r}")
            time.sleep(0.02)
    subscriber.finish()


if __name__ == "__main__":
    main()
