"""The host's end of the link against a device in Python that answers, or does not."""

import os
import struct
import threading
import tty
import zlib
from pathlib import Path

import pytest

import penstock.hw
from penstock.boards.frames import Operation, Status
from penstock.boards.host import Board
from penstock.boards.serial_link import ATTEMPTS, SerialLink
from penstock.errors import BoardError, PenstockError
from penstock.registers import CODE_TEXT, Code

BAUD = 115_200
IDENTITY = b"PNSL" + bytes((1, 17, 0, 0))


class Device:
    """Answers requests on a pseudo-terminal with what ``reply`` says of each header's fields.

    ``reply(operation, sequence, words, address)`` gives (status, data), or bytes as they are.
    """

    def __init__(self, reply):
        self.reply = reply
        self.requests = []
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        try:
            while True:
                header = self._take(12)
                _, operation, sequence, words, address = struct.unpack("<BBBBI", header[:8])
                if operation in (Operation.WRITE_REGISTER, Operation.WRITE_MEMORY):
                    self._take(8 * words + 4)
                self.requests.append((operation, sequence))
                answer = self.reply(operation, sequence, words, address)
                if isinstance(answer, tuple):
                    status, data = answer
                    answer = bytes((0xA5, sequence, len(data) // 8)) + data + bytes((status,))
                    answer += struct.pack("<I", zlib.crc32(answer))
                os.write(self._master, answer)
        except OSError:  # unplugged
            pass

    def _take(self, size: int) -> bytes:
        came = b""
        while len(came) < size:
            came += os.read(self._master, size - len(came))
        return came

    def unplug(self):
        os.close(self._slave)
        os.close(self._master)


def device(identity: bytes = IDENTITY, word: bytes = bytes(8), fails=lambda device: None) -> Device:
    """One that reads ``word`` everywhere, unless ``fails`` has another answer."""

    def reply(operation, sequence, words, address):
        if operation == Operation.IDENTIFY:
            return Status.OK, identity
        other = fails(made)
        if other is not None:
            return other
        reads = operation in (Operation.READ_REGISTER, Operation.READ_MEMORY)
        return Status.OK, word * words if reads else b""

    made = Device(reply)
    return made


def test_reads_and_writes():
    link = SerialLink(device(word=b"abcdefgh").port, BAUD)
    assert link.memory_bytes == 1 << 17
    assert link.read_register(0) == int.from_bytes(b"abcd", "little")
    assert link.read(0, 24) == b"abcdefgh" * 3
    link.write_register(0, 1)
    assert link.repeated == 0


@pytest.mark.parametrize(
    "wrong", [b"", b"\xa5", bytes(40), (Status.BAD_CRC, b""), b"\xa5\x01\x01" + bytes(13)]
)
def test_a_request_is_repeated_with_its_sequence_number(wrong):
    made = device(word=b"abcdefgh", fails=lambda made: wrong if len(made.requests) < 4 else None)
    link = SerialLink(made.port, BAUD)
    assert link.read(8, 8) == b"abcdefgh"
    assert link.repeated == 2
    assert len(set(made.requests[1:])) == 1
    link.write_register(0, 1)
    assert made.requests[-1][1] == made.requests[1][1] + 1 & 0xFF


def test_an_answer_behind_garbage_is_found():
    made = device(fails=lambda made: None)
    reply = made.reply

    def noisy(operation, sequence, words, address):
        status, data = reply(operation, sequence, words, address)
        answer = bytes((0xA5, sequence, len(data) // 8)) + data + bytes((status,))
        late = bytes((0xA5, sequence - 1 & 0xFF, 0, 0)) + bytes(4)
        return late + bytes((0xA5, sequence)) + answer + struct.pack("<I", zlib.crc32(answer))

    made.reply = noisy
    link = SerialLink(made.port, BAUD)
    assert link.read(8, 8) == bytes(8)
    assert link.repeated == 0


def test_nobody_answers():
    made = Device(lambda *request: b"")
    with pytest.raises(BoardError) as caught:
        SerialLink(made.port, BAUD)
    assert str(caught.value) == (
        f"port {made.port}: no answer in 4 attempts at 115,200 baud (IDENTIFY at 0x0)"
    )
    assert len(made.requests) == ATTEMPTS


@pytest.mark.parametrize(
    "identity, error, message",
    [
        (b"PNSL" + bytes((2, 17, 0, 0)), PenstockError, "must have version 1, not 2"),
        (b"PNST" + bytes((1, 17, 0, 0)), BoardError, "is no host link of Penstock"),
    ],
)
def test_another_device(identity, error, message):
    with pytest.raises(error, match=message):
        SerialLink(device(identity).port, BAUD)


def test_a_memory_error_is_not_repeated():
    made = device(fails=lambda made: (Status.MEMORY_ERROR, b""))
    link = SerialLink(made.port, BAUD)
    with pytest.raises(BoardError, match=r"WRITE_MEMORY at 0x40 ended with MEMORY_ERROR$"):
        link.write(0x40, bytes(8))
    assert len(made.requests) == 2


def test_unplugged():
    made = device()
    link = SerialLink(made.port, BAUD)
    made.unplug()
    with pytest.raises(BoardError, match=f"^port {made.port}: lost while the board was in use"):
        link.read_register(0)


def test_a_port_is_used_once():
    made = device()
    link = SerialLink(made.port, BAUD)
    with pytest.raises(PenstockError, match="must be a serial port that can be opened"):
        SerialLink(made.port, BAUD)
    link.close()
    SerialLink(made.port, BAUD)


def test_another_core():
    with pytest.raises(BoardError, match=r"must have the identity 0x504e5354, not 0x00000000$"):
        Board(device().port, BAUD)


def test_codes_in_words_are_those_of_the_c_driver():
    driver = (Path(penstock.hw.__file__).parent / "driver" / "penstock.c").read_text()
    assert set(CODE_TEXT) == set(Code)
    for code, text in CODE_TEXT.items():
        assert f'case PENSTOCK_CODE_{code.name}:\n        return "{text}";' in driver
