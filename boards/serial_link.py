"""The host's end of the link: requests over a serial port, repeated until they are answered."""

import contextlib
import itertools
import os
import time
import zlib

import serial

from penstock.boards.frames import (
    ANSWER_START,
    BLOCK_BYTES,
    IDENTITY,
    LONGEST_SILENCE,
    VERSION,
    WORD_BYTES,
    Operation,
    Status,
    answer_bytes,
    request_frame,
)
from penstock.errors import BoardError, PenstockError

ATTEMPTS = 4
"""Of one request, until the link is given up."""

PATIENCE = 0.5
"""Seconds that computers and USB may add to what an answer takes on the line."""

SILENCE = 1.5 * LONGEST_SILENCE
"""Seconds without a byte to the link before a request is repeated, so that it expects one."""


class SerialLink:
    """Requests of penstock.boards.frames over a serial port, one at a time.

    A request that gets no answer in time, or one that does not check, is repeated with the same
    sequence number after a silence, ATTEMPTS times in all: the link does not write a register
    twice. Raises PenstockError for a port that cannot be opened or a link of another version,
    BoardError where the port is lost or the link does not answer.
    """

    def __init__(self, port: str, baud: int):
        self.port, self.baud = port, baud
        self.repeated = 0  # requests, in all
        try:
            self._serial = serial.Serial(
                port, baud, write_timeout=self._patience(BLOCK_BYTES), exclusive=True
            )
        except (OSError, ValueError) as error:  # SerialException is an OSError
            number = getattr(error, "errno", None)
            reason = os.strerror(number) if number else str(error)
            raise PenstockError(
                f"port {port}: must be a serial port that can be opened ({reason})"
            ) from None
        # Only some drivers have it; FTDI's waits 16 ms for each answer without it.
        with contextlib.suppress(OSError, ValueError, NotImplementedError, AttributeError):
            self._serial.set_low_latency_mode(True)
        self._sequence = os.urandom(1)[0]
        try:
            self._fall_silent()
            self.memory_bytes = self._identify()
        except BaseException:
            self.close()
            raise

    def close(self):
        """Close the port."""
        self._serial.close()

    def read_register(self, address: int) -> int:
        """Value of a register."""
        data = self._ask(Operation.READ_REGISTER, 1, address)
        return int.from_bytes(data[:4], "little")

    def write_register(self, address: int, value: int):
        """Write a register, exactly once where this returns, at most once where it raises."""
        data = value.to_bytes(WORD_BYTES, "little")
        self._ask(Operation.WRITE_REGISTER, 1, address, data)

    def read(self, address: int, size: int) -> bytes:
        """Bytes of the memory, up to a block's end; address and size are multiples of 8."""
        return self._ask(Operation.READ_MEMORY, size // WORD_BYTES, address)

    def write(self, address: int, data: bytes):
        """Write to memory, up to a block's end; address a multiple of 64, size of 8."""
        self._ask(Operation.WRITE_MEMORY, len(data) // WORD_BYTES, address, data)

    def _identify(self) -> int:
        """Check who answers; bytes of the board's memory."""
        identity = self._ask(Operation.IDENTIFY, 1, 0)
        if identity[:4] != IDENTITY.to_bytes(4, "little"):
            raise BoardError(f"port {self.port}: what answers is no host link of Penstock")
        if identity[4] != VERSION:
            raise PenstockError(
                f"port {self.port}: the board's host link must have version {VERSION}, "
                f"not {identity[4]}"
            )
        return 1 << identity[5]

    def _ask(self, operation: Operation, words: int, address: int, data: bytes = b"") -> bytes:
        """The data of the answer to a request."""
        self._sequence = self._sequence + 1 & 0xFF
        frame = request_frame(operation, self._sequence, words, address, data)
        expected = 0 if data else words
        for attempt in range(ATTEMPTS):
            if attempt:
                self.repeated += 1
                self._fall_silent()
            self._send(frame)
            status, answered = self._answer(expected, len(frame))
            if status == Status.OK:
                return answered
            if status not in (None, Status.BAD_CRC):
                raise BoardError(
                    f"port {self.port}: {operation.name} at {address:#x} ended with {status.name}"
                )
        raise BoardError(
            f"port {self.port}: no answer in {ATTEMPTS} attempts at {self.baud:,} baud"
            f" ({operation.name} at {address:#x})"
        )

    def _answer(self, words: int, sent: int) -> tuple[Status | None, bytes]:
        """(status, data) of the answer to what was sent last; (None, nothing) where none comes."""
        size = answer_bytes(words)
        deadline = time.monotonic() + self._patience(size + sent)
        came = b""
        while time.monotonic() < deadline:
            came += self._receive(deadline)
            start = came.find(bytes((ANSWER_START, self._sequence)))
            while start >= 0:
                found = self._judge(came[start:], words)
                if found:
                    return found
                start = came.find(bytes((ANSWER_START, self._sequence)), start + 1)
        return None, b""

    @staticmethod
    def _judge(came: bytes, words: int) -> tuple[Status, bytes] | None:
        """(status, data) of an answer that begins here, if one does."""
        for count in {words, 0}:
            frame = came[: answer_bytes(count)]
            whole = len(frame) == answer_bytes(count) and frame[2] == count
            if whole and zlib.crc32(frame[:-4]) == int.from_bytes(frame[-4:], "little"):
                return Status(frame[-5]), frame[3:-5]
        return None

    def _patience(self, size: int) -> float:
        """Seconds in which so many bytes have passed the line, whatever else goes on."""
        return PATIENCE + 2 * 10 * size / self.baud

    def _send(self, frame: bytes):
        try:
            self._serial.write(frame)
        except OSError as error:
            raise self._lost(error) from None

    def _receive(self, deadline: float) -> bytes:
        """What has come; waits for a byte, or until the deadline."""
        try:
            self._serial.timeout = max(0.0, deadline - time.monotonic())
            first = self._serial.read(1)
            return first + self._serial.read(self._serial.in_waiting) if first else b""
        except OSError as error:
            raise self._lost(error) from None

    def _fall_silent(self):
        """Send nothing for long enough, and forget what comes meanwhile."""
        until = time.monotonic() + SILENCE
        while time.monotonic() < until:
            self._receive(until)

    def _lost(self, error: OSError) -> BoardError:
        return BoardError(
            f"port {self.port}: lost while the board was in use ({error}); is its cable plugged in?"
        )


def blocks(address: int, size: int) -> list[tuple[int, int]]:
    """(address, size) of the transfers of a range, none of them beyond a block."""
    end = address + size
    inner = range((address // BLOCK_BYTES + 1) * BLOCK_BYTES, end, BLOCK_BYTES)
    return [(first, next_ - first) for first, next_ in itertools.pairwise((address, *inner, end))]
