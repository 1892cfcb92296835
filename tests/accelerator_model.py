"""What docs/registers.md says of the registers, in Python, for the driver to run on."""

import struct
import zlib
from collections.abc import Iterator

from penstock.hw.control import COUNTERS
from penstock.program import HEADER, MAGIC, VERSION, WORD_BYTES
from penstock.registers import (
    ALIGNMENT,
    IDENTITY,
    REGISTERS,
    STATUS_FIELDS,
    Code,
    Command,
    State,
)

HEADER_WORDS = len(HEADER.words)
IMAGE_BYTES = 64
BUFFERS = ("INPUT", "INPUT_STRIDE", "OUTPUT", "OUTPUT_STRIDE")


def model_program(config: int, key: int) -> bytes:
    """A program as the model runs it: a header and one word, the key."""
    words = HEADER_WORDS + 1
    fields = {field.name: 0 for field in HEADER.fields}
    fields |= {"magic": MAGIC, "version": VERSION, "config": config, "length": words}

    def content(crc: int) -> bytes:
        return struct.pack(f"<{words}Q", *HEADER.pack(**fields | {"crc": crc}), key)

    return content(zlib.crc32(content(0)[3 * WORD_BYTES :]))


class AcceleratorModel:
    """Registers around a memory of bytes; every access takes one cycle.

    A command works for ``work`` cycles, a halt drains for ``drain``. While ``silent`` the memory
    does not answer, and nothing makes progress. A run adds the program's key to each byte of an
    image; without gating it copies.
    """

    def __init__(self, config: int, memory: bytearray):
        self.memory = memory
        self.work, self.drain, self.silent = 5, 3, False
        self.values = {register.name: register.reset for register in REGISTERS}
        self.values |= {"IDENTITY": IDENTITY, "VERSION": VERSION, "CONFIG": config}
        self.code, self.state = Code.OK, State.IDLE
        self.done = self.loaded = self.refused = False
        self.cycles = 0
        self._left = self._waited = self._key = 0
        self._taken = {}  # settings of the command that runs
        self._registers = {register.address: register for register in REGISTERS}

    def read(self, offset: int) -> int:
        """One register."""
        self._tick()
        register = self._registers[offset]
        assert "r" in register.access, f"{register.name} must not be read"
        if register.name == "STATUS":
            return self._status()
        if register.name.startswith("CYCLES"):
            return self.cycles >> (32 if register.name == "CYCLES_HIGH" else 0) & 0xFFFFFFFF
        return self.values[register.name]

    def write(self, offset: int, value: int):
        """One register; a write of COMMAND gives a command."""
        self._tick()
        register = self._registers[offset]
        assert "w" in register.access, f"{register.name} must not be written"
        if register.name == "COMMAND":
            self._command(value)
        else:
            self.values[register.name] = value & 1 if register.name == "GATING" else value

    def _status(self) -> int:
        status = shift = 0
        for name, bits in STATUS_FIELDS:
            status |= int(getattr(self, name)) << shift
            shift += bits
        return status

    def _command(self, command: int):
        if self.state != State.IDLE:
            if command != Command.ABORT:
                self.refused = True
            elif self.state != State.DRAINING:
                self._stop(Code.ABORTED)
            return
        self.refused = False
        if command == Command.LOAD:
            self.loaded = False
            self._begin(State.LOADING, ("PROGRAM",))
        elif command == Command.ABORT:
            self._end(Code.ABORTED)
        elif command == Command.START and not self.loaded:
            self._end(Code.NOT_LOADED)
        elif command != Command.START or not self.values["IMAGES"]:
            self._end(Code.BAD_COMMAND)
        else:
            self._begin(State.RUNNING, BUFFERS)

    def _begin(self, state: State, aligned: tuple[str, ...]):
        if any(self.values[name] % ALIGNMENT for name in aligned):
            self._end(Code.MISALIGNED)
            return
        self._taken = dict(self.values)
        self.code, self.state, self.done = Code.OK, state, False
        self._left, self._waited = self.work, 0
        if state == State.RUNNING:
            self.cycles = 0

    def _stop(self, code: Code):
        self.code, self.state = code, State.DRAINING
        self._left, self._waited = self.drain, 0

    def _end(self, code: Code):
        self.code, self.state, self.done = code, State.IDLE, True

    def _tick(self):
        if self.state == State.IDLE:
            return
        self.cycles += self.state == State.RUNNING
        if self.silent:
            self._waited += 1
            if self._waited == self._taken["WATCHDOG"]:
                self._expire()
            return
        self._left -= 1
        if self._left > 0:
            return
        if self.state == State.DRAINING:
            self._end(self.code)
        else:
            code = self._load() if self.state == State.LOADING else self._run()
            self.loaded |= code == Code.OK
            if code == Code.OK:
                self._end(code)
            else:
                self._stop(code)

    def _expire(self):
        if self.state == State.DRAINING:
            self.code, self.done = Code.TIMEOUT, True
        else:
            self._stop(Code.TIMEOUT)

    def _load(self) -> Code:
        content = self.memory[self._taken["PROGRAM"] :][: (HEADER_WORDS + 1) * WORD_BYTES]
        if len(content) < (HEADER_WORDS + 1) * WORD_BYTES:
            return Code.BUS_ERROR
        words = struct.unpack(f"<{HEADER_WORDS + 1}Q", content)
        header = HEADER.unpack(words[:HEADER_WORDS])
        for field, wanted, code in (
            ("magic", MAGIC, Code.BAD_MAGIC),
            ("version", VERSION, Code.BAD_VERSION),
            ("config", self.values["CONFIG"], Code.BAD_CONFIG),
            ("length", HEADER_WORDS + 1, Code.BAD_LENGTH),
            ("crc", zlib.crc32(content[3 * WORD_BYTES :]), Code.BAD_CRC),
        ):
            if header[field] != wanted:
                return code
        self._key = words[-1]
        return Code.OK

    def _run(self) -> Code:
        for source, destination in self._buffers():
            if max(source, destination) + IMAGE_BYTES > len(self.memory):
                return Code.BUS_ERROR
            image = self.memory[source : source + IMAGE_BYTES]
            key = self._key if self._taken["GATING"] else 0
            result = bytes((byte + key) & 0xFF for byte in image)
            self.memory[destination : destination + IMAGE_BYTES] = result
        for number, name in enumerate(COUNTERS):
            self.values[name.upper()] = 1000 + number
        return Code.OK

    def _buffers(self) -> Iterator[tuple[int, int]]:
        """Addresses of each image and its output."""
        first, stride, output, output_stride = (self._taken[name] for name in BUFFERS)
        for image in range(self._taken["IMAGES"]):
            yield first + image * stride, output + image * output_stride
