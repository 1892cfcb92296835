"""The frames of the host link: one description for hardware, host and docs; no Amaranth here.

The host asks, the link answers, one request at a time. Numbers are little-endian; a word is 64
bits. Every check is zlib's CRC-32 over all bytes of the frame before it, earlier checks left out.
"""

import zlib
from dataclasses import dataclass
from enum import IntEnum

from penstock.config import BURST_BEATS, MEMORY_BITS

VERSION = 1
"""Of this protocol."""

WORD_BYTES = MEMORY_BITS // 8
BLOCK_BYTES = BURST_BEATS * WORD_BYTES
"""A request reaches no further than to the next multiple of it."""

WRITE_BYTES = 64
"""A write of memory begins at a multiple of it."""

DEFAULT_BAUD = 1_000_000
REQUEST_START = 0x50
ANSWER_START = 0xA5
IDENTITY = int.from_bytes(b"PNSL", "little")

SHORTEST_SILENCE, LONGEST_SILENCE = 0.05, 0.1
"""Seconds: a pause inside a frame that the link bears with, one behind which it expects a frame."""


class Operation(IntEnum):
    """What a request asks for."""

    READ_REGISTER = 0
    WRITE_REGISTER = 1
    READ_MEMORY = 2
    WRITE_MEMORY = 3
    IDENTIFY = 4


OPERATIONS = {
    Operation.READ_REGISTER: "answers one word, the register in its low half",
    Operation.WRITE_REGISTER: "one word of data, its low half for the register",
    Operation.READ_MEMORY: "answers words of memory",
    Operation.WRITE_MEMORY: "words of data for the memory",
    Operation.IDENTIFY: (
        f"answers one word: `PNSL`, the protocol's version ({VERSION}), log2 of the memory's "
        "bytes, 0, 0; the same in every version"
    ),
}


class Status(IntEnum):
    """How a request ended."""

    OK = 0
    BAD_CRC = 1
    BAD_OPERATION = 2
    BAD_LENGTH = 3
    BAD_ADDRESS = 4
    MEMORY_ERROR = 5


STATUSES = {
    Status.OK: "done",
    Status.BAD_CRC: "the data do not check; no register was written",
    Status.BAD_OPERATION: "there is no such operation",
    Status.BAD_LENGTH: "no words, beyond the block, or not one where one is wanted",
    Status.BAD_ADDRESS: "not aligned, or beyond the memory or the registers",
    Status.MEMORY_ERROR: "the memory answered with an error",
}


@dataclass(frozen=True)
class Field:
    """One field of a frame: name, bytes (0: as many as WORDS says), meaning."""

    name: str
    bytes: int
    doc: str


REQUEST = (
    Field("start", 1, f"0x{REQUEST_START:02X}"),
    Field("operation", 1, "what to do, see below"),
    Field("sequence", 1, "another one than in the request before, unless this repeats it"),
    Field("words", 1, f"words of data to write or read, 1..{BURST_BEATS}; 1 of a register"),
    Field("address", 4, "byte address of the register, or in memory"),
    Field("header_check", 4, "CRC-32"),
    Field("data", 0, "WRITE_REGISTER and WRITE_MEMORY only: the words"),
    Field("check", 4, "with data only: CRC-32"),
)
ANSWER = (
    Field("start", 1, f"0x{ANSWER_START:02X}"),
    Field("sequence", 1, "of the request"),
    Field("words", 1, "words of data that follow, 0 unless something was read"),
    Field("data", 0, "the words"),
    Field("status", 1, "how it ended, see below"),
    Field("check", 4, "CRC-32"),
)


def request_header(operation: int, sequence: int, words: int, address: int) -> bytes:
    """The fields of a request up to its address."""
    return bytes((REQUEST_START, operation, sequence, words)) + address.to_bytes(4, "little")


def request_frame(
    operation: int, sequence: int, words: int, address: int, data: bytes = b""
) -> bytes:
    """A whole request."""
    header = request_header(operation, sequence, words, address)
    check = zlib.crc32(header)
    frame = header + check.to_bytes(4, "little")
    if data:
        frame += data + zlib.crc32(data, check).to_bytes(4, "little")
    return frame


def answer_bytes(words: int) -> int:
    """Bytes of an answer with so many words of data."""
    return sum(field.bytes for field in ANSWER) + words * WORD_BYTES
