"""Just enough of RFC 6455 §5.2 to say where in a byte stream one is: in a header, in a payload, or between frames;
how many whole messages of data have gone by, and in how many more frames than that."""


class FrameTracker:
    """Fed the bytes behind the HTTP head, in any split."""

    def __init__(self) -> None:
        self.messages = 0
        self.continuations = 0
        self._counts = False
        self._header = bytearray()
        self._payload_left = 0

    def feed(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._payload_left:
                step = min(self._payload_left, len(data) - at)
                self._payload_left -= step
                at += step
                if not self._payload_left:
                    self.messages += self._counts
                continue
            self._header.append(data[at])
            at += 1
            if len(self._header) >= 2 and len(self._header) == self._header_length():
                self._payload_left = self._length()
                # The last frame of a message of data; opcodes from 8 on are control frames.
                self._counts = self._header[0] & 0x80 != 0 and self._header[0] & 0x0F < 8
                self.continuations += self._header[0] & 0x0F == 0
                self._header.clear()
                if not self._payload_left:
                    self.messages += self._counts

    def place(self) -> str:
        if self._payload_left:
            return "payload"
        return "header" if self._header else "boundary"

    def _header_length(self) -> int:
        extended = {126: 2, 127: 8}.get(self._header[1] & 0x7F, 0)
        return 2 + extended + (4 if self._header[1] & 0x80 else 0)

    def _length(self) -> int:
        short = self._header[1] & 0x7F
        if short < 126:
            return short
        return int.from_bytes(self._header[2 : 4 if short == 126 else 10], "big")
