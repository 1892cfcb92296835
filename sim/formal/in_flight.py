"""Each group finds its own tag when its sums leave the array."""

import functools

from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from penstock.config import Config, preset
from penstock.hw.in_flight import GROUPS, READ_LATENCY, InFlight
from penstock.hw.layouts import group_tag_layout
from penstock.hw.ram import LATENCY as RAM_LATENCY
from penstock.hw.ram import Ram
from penstock.sim.formal.inside import Inside
from penstock.sim.formal.prover import Proof


class TagsInOrder(wiring.Component):
    """The n-th pull brings the n-th tag, from READ_LATENCY cycles later until the next one's.

    ``watch`` marks one tag at a time, any tag, which lies at ``place``: ``ahead`` others are to be
    pulled before. The memory is any that keeps the promise of `Ram`: what is read from an address
    in the cycle in which it is written, or in the one before, may be anything.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        tag = group_tag_layout(cfg)
        super().__init__(
            {
                "push": In(1),
                "tag": In(tag),
                "pull": In(1),
                "watch": In(1),
                "anything": In(tag.size),
            }
        )
        self.unpulled = Signal(range(GROUPS))
        self.watching, self.ahead = Signal(), Signal.like(self.unpulled)
        self.current = Signal()  # the marked tag's pull was the last
        self.place, self.marked = Signal(range(GROUPS)), Signal(tag)

    def elaborate(self, platform):
        m = Module()
        m.submodules.in_flight = in_flight = InFlight(self.cfg)
        inside = Inside(in_flight)
        m.d.comb += [
            in_flight.push.eq(self.push),
            in_flight.tag.eq(self.tag),
            in_flight.pull.eq(self.pull),
            # Engine: a tag is pulled after its push, fewer cycles behind it than there are places.
            Assume(~self.pull | (self.unpulled != 0)),
            Assume(~self.push | (self.unpulled - self.pull < GROUPS - 3)),
        ]
        m.d.sync += self.unpulled.eq(self.unpulled + self.push - self.pull)
        with m.If(self.pull):
            m.d.sync += [self.ahead.eq(self.ahead - 1), self.current.eq(0)]
            with m.If(self.watching & (self.ahead == 0)):
                m.d.sync += [self.watching.eq(0), self.current.eq(1)]
        mark = Signal()
        tag, halves = self.marked.as_value(), []
        for index, ram in enumerate(inside.every("ram")):
            half, tag = tag[: ram.width], tag[ram.width :]
            anything = self.anything[index * ram.width :][: ram.width]
            halves.append(self._memory(m, ram, mark, half, anything, f"half_{index}"))
        stages = halves[0]
        idle = ~(self.watching | self.current | stages[0] | stages[1])
        m.d.comb += mark.eq(self.push & self.watch & idle)
        with m.If(mark):
            m.d.sync += [
                self.watching.eq(1),
                self.ahead.eq(self.unpulled - self.pull),
                self.marked.eq(self.tag),
                self.place.eq(inside["write_index"]),
            ]
        m.d.comb += [
            Assert(~stages[-1] | (in_flight.head == self.marked)),
            Cover(stages[-1] & (self.unpulled == 6)),
            Cover(stages[-1] & ~self.current & ~stages[0]),
        ]
        self._inside(m, inside)
        return m

    def _memory(self, m: Module, ram: Ram, mark: Signal, marked, anything, half: str):
        """Put the promise in a memory's place; returns ``current``, 1, 2.. cycles later."""
        ram.elaborate = lambda platform: Module()
        here = ram.write_enable & (ram.write_address == self.place)
        word = Signal.like(ram.read_data, name=f"{half}_word")
        hit = (ram.read_address == self.place) & ~here
        with m.If(here | mark):
            m.d.sync += word.eq(ram.write_data)
        current, read, stages = self.current, word, []
        for cycle in range(1, RAM_LATENCY + 1):
            found = Signal(name=f"{half}_hit_{cycle}")
            data = Signal.like(word, name=f"{half}_data_{cycle}")
            stages.append(Signal(name=f"{half}_current_{cycle}"))
            m.d.sync += [found.eq(hit), data.eq(read), stages[-1].eq(current)]
            m.d.comb += Assert(~stages[-1] | (found & (data == marked)))
            # What is written in the next cycle counts, too: of the style distributed.
            current, read, hit = stages[-1], data, found & ~here if cycle == 1 else found
        m.d.comb += ram.read_data.eq(Mux(hit, read, anything))
        m.d.comb += Assert(~(self.watching | self.current) | (word == marked))
        return stages

    def _inside(self, m: Module, inside: Inside):
        """What ties the indices to the marked tag, for the induction."""
        write, read = inside["write_index"], inside["read_index"]
        m.d.comb += [
            Assert((write - read)[: len(read)] == self.unpulled),
            Assert(~self.watching | (self.ahead < self.unpulled)),
            Assert(~self.watching | (self.place == (read + self.ahead)[: len(read)])),
            Assert(~self.current | (self.place == (read - 1)[: len(read)])),
            *(Assert(~self.current | (self.place == index)) for index in inside["head_indices"]),
            Assert(~(self.watching & self.current)),
        ]


assert READ_LATENCY == RAM_LATENCY + 1  # from a pull: `current`, then the memory

PROOFS = [
    Proof(
        block="in_flight",
        name="order",
        configuration=name,
        statement=f"the n-th pull brings the n-th tag, from {READ_LATENCY} cycles later until the"
        " next one's, with any memory that keeps Ram's promise, while fewer tags than it has places"
        " are under way",
        top=functools.partial(TagsInOrder, preset(name)),
        depth=2,
        cover_depth=14,
    )
    for name in ("tiny", "ulx3s-85f")
]
