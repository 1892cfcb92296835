"""The blocks of the host link side by side in one simulator."""

from amaranth.lib import wiring

from penstock.boards.link import HostLink
from penstock.boards.memory_share import MemoryShare
from penstock.boards.uart import UartReceiver, UartTransmitter, baud_divisor
from penstock.sim.blocks import Blocks

LINES = {"line_4": (100_000, 25_000), "line_12": (12_000_000, 1_000_000)}
LINES |= {"line_17": (50_000_000, 3_000_000)}
"""Serial lines: clock in Hz, baud."""

CLOCK_HZ = 5_000
"""That the link is made for: its silence is short."""

MEMORY_BITS = 16


class LinkBlocks(Blocks):
    """Each block's ports, behind its name: a receiver and a transmitter for each of LINES."""

    def __init__(self):
        super().__init__(None)

    def make(self, cfg: None) -> dict[str, wiring.Component]:
        blocks = {
            "link": HostLink(clock_hz=CLOCK_HZ, memory_bits=MEMORY_BITS),
            "share": MemoryShare(),
        }
        for name, (clock_hz, baud) in LINES.items():
            divisor = baud_divisor(clock_hz, baud)
            blocks[f"{name}_in"] = UartReceiver(divisor)
            blocks[f"{name}_out"] = UartTransmitter(divisor)
        return blocks
