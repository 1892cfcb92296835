"""Tags of the groups that are on their way through the array."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.layouts import group_tag_layout
from penstock.hw.ram import LATENCY as RAM_LATENCY
from penstock.hw.ram import Ram

READ_LATENCY = RAM_LATENCY + 1
"""Cycles from ``pull`` to the tag."""

GROUPS = 32
"""Places for tags; a pull comes fewer than GROUPS - 1 cycles behind its push."""


class InFlight(wiring.Component):
    """Keeps each group's tag while its windows pass the array: first in, first out.

    ``push`` with the group's first step; ``pull`` 3 cycles before the first sum, after which
    ``head`` is the tag until the next group's first sum. One group per cycle, GROUPS places: the
    way through the array is shorter for any configuration.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "push": In(1),
                "tag": In(group_tag_layout(cfg)),
                "pull": In(1),
                "head": Out(group_tag_layout(cfg)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = group_tag_layout(self.cfg).size
        m.submodules.ram = ram = Ram(
            width=width, depth=GROUPS, style="distributed", target=self.cfg.target
        )
        write_index = Signal(range(GROUPS))
        read_index = Signal.like(write_index)
        head_index = Signal.like(write_index)
        m.d.sync += [
            write_index.eq(write_index + self.push),
            read_index.eq(read_index + self.pull),
        ]
        with m.If(self.pull):
            m.d.sync += head_index.eq(read_index)
        m.d.comb += [
            ram.write_enable.eq(self.push),
            ram.write_address.eq(write_index),
            ram.write_data.eq(self.tag),
            ram.read_address.eq(head_index),
            self.head.eq(ram.read_data),
        ]
        return m
