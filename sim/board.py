"""A board at its pins, for simulation: all that boards share; its memory is outside."""

from penstock.boards.system import HostedCore
from penstock.config import Config

CLOCK_HZ = 10_000
"""Less than the cycles that are simulated in a second, so that the host's silence is one here."""

BAUD = 2_500
MEMORY_BITS = 17


def simulated_board(cfg: Config) -> HostedCore:
    """The pins ``rx`` and ``tx`` of a serial line, LEDs, and a memory."""
    return HostedCore(cfg, clock_hz=CLOCK_HZ, memory_bits=MEMORY_BITS, baud=BAUD)
