"""Tags of the groups that are on their way through the array."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.layouts import group_tag_layout
from penstock.hw.pipeline import spread
from penstock.hw.ram import LATENCY as RAM_LATENCY
from penstock.hw.ram import Ram

READ_LATENCY = RAM_LATENCY + 1
"""Cycles from ``pull`` to the tag."""

GROUPS = 32
"""Places for tags; a pull comes fewer than GROUPS - 2 cycles behind its push."""


class InFlight(wiring.Component):
    """Keeps each group's tag while its windows pass the array: first in, first out.

    ``push`` with the group's first step; ``pull`` 3 cycles before the first sum, after which
    ``head`` is the tag until the next group's first sum. One group per cycle, GROUPS places: the
    way through the array is shorter for any configuration. The next place is written in each cycle,
    so that nothing waits for ``push``. Two memories keep half a tag each, with
    addresses of their own: a tag is wide.
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
        write_index = Signal(range(GROUPS))
        read_index = Signal.like(write_index)
        following = Signal.like(write_index)
        pushed = Signal.like(write_index)
        head_indices = spread(m, following, 2, cycles=1, name="head_index")
        write_indices = spread(m, pushed, 2, cycles=1, name="write_index")
        m.d.comb += pushed.eq(write_index + self.push)
        m.d.sync += [
            write_index.eq(pushed),
            read_index.eq(read_index + self.pull),
        ]
        m.d.comb += following.eq(Mux(self.pull, read_index, head_indices[0]))
        tag, head = self.tag.as_value(), []
        half = -(-len(tag) // 2)
        parts = zip((tag[:half], tag[half:]), write_indices, head_indices, strict=True)
        for part, part_index, head_index in parts:
            ram = Ram(width=len(part), depth=GROUPS, style="distributed", target=self.cfg.target)
            m.submodules += ram
            m.d.comb += [
                ram.write_enable.eq(1),
                ram.write_address.eq(part_index),
                ram.write_data.eq(part),
                ram.read_address.eq(head_index),
            ]
            head.append(ram.read_data)
        m.d.comb += self.head.eq(Cat(head))
        return m
