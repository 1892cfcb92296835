"""A board on a serial port, for Python: load a program, run images, read results and counters.

with Board("/dev/ttyUSB1") as board:
    board.load(load_program("digits.bin"))
    result = board.run(images)
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from penstock.boards.frames import DEFAULT_BAUD
from penstock.boards.serial_link import SerialLink, blocks
from penstock.errors import BoardError, PenstockError
from penstock.memory_map import MemoryMap, check_images
from penstock.program import VERSION, WORD_BYTES, Program
from penstock.registers import (
    ADDRESS,
    CODE_TEXT,
    COUNTERS,
    IDENTITY,
    STATUS_FIELDS,
    WATCHDOG_RESET,
    Code,
    Command,
    State,
)

RUN_FORMAT = "penstock board run 1"
"""What the field ``format`` of a run's JSON says."""

POLL = 0.002
"""Seconds between two looks at a command under way."""

ABORT_TIME = 5.0
"""Seconds that an abort may take: the memory answers what was asked of it."""


@dataclass(frozen=True, eq=False)
class BoardRun:
    """What a board did with images.

    ``outputs``: the classifier's results, (N, classes) int32; None for a network without one.
    ``counters``: by the names of their registers.
    """

    outputs: np.ndarray | None
    counters: dict[str, int]

    @property
    def cycles(self) -> int:
        """From the accepted START to its end."""
        return self.counters["CYCLES"] | self.counters["CYCLES_HIGH"] << 32


def board_figures(program: Program, run: BoardRun, gating: bool) -> dict:
    """A run in numbers, for the command line and its JSON."""
    images = run.counters["IMAGE"]
    return {
        "format": RUN_FORMAT,
        "network": program.network.name,
        "config": program.config.name,
        "images": images,
        "gating": gating,
        "cycles": run.cycles / images,
        "counters": run.counters,
        "classes": None if run.outputs is None else run.outputs.argmax(axis=1).tolist(),
    }


class Board:
    """A Penstock core behind the host link (docs/host_link.md) of a serial port.

    Raises PenstockError for a port that cannot be opened, and for a program or images that do not
    fit the board; BoardError where the board does not answer, is unplugged, or its core stops with
    an error. Whatever happened before, another `Board`, or `load`, begins anew.
    """

    def __init__(self, port: str, baud: int = DEFAULT_BAUD):
        self.port = port
        self.program: Program | None = None
        self._link = SerialLink(port, baud)
        try:
            self._check_core()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """Close the port; the board keeps its program, and a run goes on."""
        self._link.close()

    @property
    def memory_bytes(self) -> int:
        """Size of the board's memory."""
        return self._link.memory_bytes

    def read(self, register: str) -> int:
        """Value of a register, by name."""
        return self._link.read_register(ADDRESS[register])

    def write(self, register: str, value: int):
        """Write a register, by name."""
        self._link.write_register(ADDRESS[register], value)

    def status(self) -> dict[str, int]:
        """Fields of the STATUS register."""
        value, fields = self.read("STATUS"), {}
        for name, bits in STATUS_FIELDS:
            fields[name] = value & (1 << bits) - 1
            value >>= bits
        return fields

    def load(self, program: Program, advance: Callable[[int], None] = lambda size: None):
        """Load a program, stopping the core if need be; ``advance`` is told of bytes sent."""
        configuration = self.read("CONFIG")
        if program.config.hash != configuration:
            raise PenstockError(
                f"program {program.network.name}: was compiled for configuration "
                f"{program.config.name} ({program.config.hash:#010x}), "
                f"the board on {self.port} has {configuration:#010x}"
            )
        content = MemoryMap(program, 0).program_bytes()
        self._check_size(program, len(content), "needs")
        self.program = None
        self.abort()
        self.write_memory(0, content, advance)
        self.write("PROGRAM", 0)
        self._command(Command.LOAD)
        self.program = program

    def run(
        self,
        images: np.ndarray,
        gating: bool = True,
        advance: Callable[[int], None] = lambda size: None,
    ) -> BoardRun:
        """Run the loaded program on images (N, C, H, W); ``advance`` is told of bytes sent."""
        if self.program is None:
            raise PenstockError(f"port {self.port}: must have a program loaded before a run")
        check_images(self.program.network, images)
        layout = MemoryMap(self.program, len(images))
        self._check_size(self.program, layout.size, f"and {len(images)} images need")
        self.write_memory(layout.first_input, layout.input_bytes(images), advance)
        for register, value in layout.registers(gating).items():
            self.write(register, value)
        self.write("WATCHDOG", WATCHDOG_RESET)
        self._command(Command.START)
        output = self.read_memory(layout.first_output, layout.size - layout.first_output)
        counters = {register: self.read(register) for register in ("IMAGE", *COUNTERS)}
        return BoardRun(layout.logits(output), counters)

    def abort(self):
        """Stop what the core is doing, and wait until it is idle."""
        if self.status()["state"] == State.IDLE:
            return
        self.write("COMMAND", Command.ABORT)
        deadline = time.monotonic() + ABORT_TIME
        while self.status()["state"] != State.IDLE:
            if time.monotonic() > deadline:
                raise BoardError(
                    f"port {self.port}: the core did not stop within {ABORT_TIME:.0f} s; "
                    "reset the board"
                )
            time.sleep(POLL)

    def write_memory(
        self, address: int, data: bytes, advance: Callable[[int], None] = lambda size: None
    ):
        """Write bytes from a multiple of 64 on; zeros fill their last word up."""
        data = data + bytes(-len(data) % WORD_BYTES)
        for first, size in blocks(address, len(data)):
            self._link.write(first, data[first - address :][:size])
            advance(size)

    def read_memory(self, address: int, size: int) -> bytes:
        """Whole words of memory."""
        return b"".join(self._link.read(first, part) for first, part in blocks(address, size))

    def _check_core(self):
        identity, version = self.read("IDENTITY"), self.read("VERSION") & 0xFFFF
        if identity != IDENTITY:
            raise BoardError(
                f"port {self.port}: the board's core must have the identity {IDENTITY:#010x}, "
                f"not {identity:#010x}"
            )
        if version != VERSION:
            raise PenstockError(
                f"port {self.port}: the board's core must take programs of version {VERSION}, "
                f"not {version}"
            )

    def _check_size(self, program: Program, size: int, verb: str):
        if size > self.memory_bytes:
            raise PenstockError(
                f"program {program.network.name}: {verb} {size:,} bytes of memory, "
                f"the board on {self.port} has {self.memory_bytes:,}"
            )

    def _command(self, command: Command):
        """Give a command and wait for its end, which the core's watchdog brings in any case."""
        self.write("COMMAND", command)
        status = self.status()
        if status["refused"]:
            raise BoardError(f"port {self.port}: the core refused {command.name}: it is busy")
        while not status["done"]:
            time.sleep(POLL)
            status = self.status()
        code = status["code"]
        if code != Code.OK:
            text = CODE_TEXT.get(code, "unknown")
            raise BoardError(f"port {self.port}: {command.name} ended with code {code}: {text}")
