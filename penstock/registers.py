"""The register map, commands and status codes: one table for hardware, drivers and docs."""

from dataclasses import dataclass
from enum import IntEnum


class Command(IntEnum):
    """What a write to the COMMAND register asks for."""

    LOAD = 1  # read and check the program at PROGRAM, then its parameters and resident weights
    START = 2  # run IMAGES images
    ABORT = 3  # stop, drain outstanding transfers, report ABORTED


class Code(IntEnum):
    """How the last command ended."""

    OK = 0
    BAD_MAGIC = 1  # the program does not begin with PNST
    BAD_VERSION = 2  # the program has another format version
    BAD_CONFIG = 3  # the program was compiled for another configuration
    BAD_LENGTH = 4  # the sections do not add up to the length, or exceed this configuration
    BAD_CRC = 5  # the program is corrupt
    NOT_LOADED = 6  # START before a successful LOAD
    TIMEOUT = 7  # nothing happened for WATCHDOG cycles
    ABORTED = 8
    BUS_ERROR = 9  # the memory answered with an error
    BAD_COMMAND = 10  # unknown command, or IMAGES is 0
    MISALIGNED = 11  # an address or stride of the command is no multiple of 64 bytes


CODE_TEXT = {
    Code.OK: "done",
    Code.BAD_MAGIC: "the program does not begin with PNST",
    Code.BAD_VERSION: "the program has another format version",
    Code.BAD_CONFIG: "the program was compiled for another configuration",
    Code.BAD_LENGTH: "the program's sections do not add up, or exceed this configuration",
    Code.BAD_CRC: "the program is corrupt",
    Code.NOT_LOADED: "no program is loaded",
    Code.TIMEOUT: "nothing happened for WATCHDOG cycles",
    Code.ABORTED: "aborted",
    Code.BUS_ERROR: "the memory answered with an error",
    Code.BAD_COMMAND: "unknown command, or a run of 0 images",
    Code.MISALIGNED: "an address or stride is not aligned",
}
"""What a code says, as in hw/driver/penstock.c."""


class State(IntEnum):
    """What the core is doing."""

    IDLE = 0
    LOADING = 1
    RUNNING = 2
    DRAINING = 3  # stopped by an abort or an error, waiting for outstanding transfers


ALIGNMENT = 64
"""Bytes: program, inputs, outputs and their strides are multiples of it."""

WATCHDOG_RESET = 1 << 20
"""Cycles without progress before TIMEOUT, unless the host writes another number."""

STATUS_FIELDS = (("code", 8), ("state", 4), ("done", 1), ("loaded", 1), ("refused", 1))
"""(name, bits) of the STATUS register, from bit 0 up."""


@dataclass(frozen=True)
class Register:
    """One 32-bit register: byte address, access ("rw", "ro", "wo"), meaning, value after reset."""

    name: str
    address: int
    access: str
    doc: str
    reset: int = 0


_DESCRIPTIONS = (
    ("IDENTITY", "ro", "0x504E5354, 'PNST'"),
    ("VERSION", "ro", "program format version in bits 15:0"),
    ("CONFIG", "ro", "configuration hash"),
    ("COMMAND", "wo", "1 LOAD, 2 START, 3 ABORT; refused while busy, except ABORT"),
    ("STATUS", "ro", "bits 7:0 code, 11:8 state, 12 done, 13 program loaded, 14 command refused"),
    ("PROGRAM", "rw", "byte address of the program"),
    ("INPUT", "rw", "byte address of the first image"),
    ("INPUT_STRIDE", "rw", "bytes from one image to the next"),
    ("OUTPUT", "rw", "byte address of the first image's output"),
    ("OUTPUT_STRIDE", "rw", "bytes from one output to the next"),
    ("IMAGES", "rw", "images of one START"),
    ("GATING", "rw", "bit 0: 1 gates as trained, 0 runs the same program as dense convolutions"),
    ("WATCHDOG", "rw", "cycles without progress before TIMEOUT, 0: never; 1,048,576 after reset"),
    ("LAYER", "ro", "layer that runs, or ran last"),
    ("IMAGE", "ro", "images finished in this START"),
    ("CYCLES", "ro", "cycles from the accepted START to its end, low half"),
    ("CYCLES_HIGH", "ro", "high half"),
    ("BASE_STEPS", "ro", "base steps of the array (one step: rows x lanes multiplications)"),
    ("CONDITIONAL_STEPS", "ro", "conditional steps of the array"),
    ("OUTPUTS", "ro", "gated outputs judged"),
    ("TASKS", "ro", "gated outputs that took the conditional path"),
    ("STALL_QUEUE", "ro", "cycles without a step: task queue full or empty, work outstanding"),
    ("STALL_WRITE", "ro", "cycles without a step: write queue credits used up"),
    ("STALL_POOL", "ro", "cycles without a step: a pooled channel still open"),
    ("STALL_DRAIN", "ro", "cycles without a step: end of a layer, results on their way"),
    ("STALL_WEIGHTS", "ro", "cycles without a step: the next layer's weights not yet loaded"),
    ("STALL_INPUT", "ro", "cycles without a step: the next image not yet loaded"),
    ("STALL_OUTPUT", "ro", "cycles without a step: the last outputs not yet written to memory"),
)  # fmt: skip
REGISTERS = tuple(
    Register(name, 4 * index, access, doc, WATCHDOG_RESET if name == "WATCHDOG" else 0)
    for index, (name, access, doc) in enumerate(_DESCRIPTIONS)
)
ADDRESS = {register.name: register.address for register in REGISTERS}
COUNTERS = tuple(register.name for register in REGISTERS if register.address >= ADDRESS["CYCLES"])
"""Names of the registers that count, cycles first."""
IDENTITY = 0x504E5354
