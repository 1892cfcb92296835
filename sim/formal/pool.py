"""The pooling's sums are exact, leave once, in the order of the channels."""

import dataclasses
import functools

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from penstock.config import Config, preset
from penstock.hw.layouts import CHANNEL_BITS
from penstock.hw.pool import LATENCY, GlobalAveragePool, pool_input_layout, pooled_layout
from penstock.sim.formal.inside import Inside
from penstock.sim.formal.prover import Proof
from penstock.sim.formal.rules import cycles


class SumsInOrder(wiring.Component):
    """Channel n leaves n-th since the restart, with the sum of all its values, once it has them.

    ``counts`` are the values that have come of the open channels. ``watch`` marks a channel by its
    first group, one at a time, any channel: ``total`` is the sum of its values so far.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "pixels": In(16),
                "signed": In(1),
                "valid": In(1),
                "group": In(pool_input_layout(cfg)),
                "ready": In(1),
                "restart": In(1),
                "watch": In(1),
            }
        )
        self.counts = [Signal(16, name=f"count_{k}") for k in range(cfg.pool_channels)]
        self.next = Signal(CHANNEL_BITS)  # channel that leaves next
        self.watching, self.channel = Signal(), Signal(CHANNEL_BITS)
        self.marked = Signal(pooled_layout(cfg))

    def elaborate(self, platform):
        m = Module()
        m.submodules.pool = pool = GlobalAveragePool(self.cfg)
        self.left = left = Signal()
        m.d.comb += [
            pool.pixels.eq(self.pixels),
            pool.signed.eq(self.signed),
            pool.i.valid.eq(self.valid),
            pool.i.payload.eq(self.group),
            pool.o.ready.eq(self.ready),
            pool.restart.eq(self.restart),
            left.eq(pool.o.valid & self.ready),
        ]
        m.d.sync += self.next.eq(Mux(self.restart, 0, self.next + left))
        bits = (self.cfg.pool_channels - 1).bit_length()
        self.came = sum(self.group.valid[row] for row in range(self.cfg.rows))
        self.here = [
            self.valid & (self.group.channel[:bits] == k) for k in range(self.cfg.pool_channels)
        ]
        self.first = [self.next[:bits] == k for k in range(self.cfg.pool_channels)]
        for count, here, first in zip(self.counts, self.here, self.first, strict=True):
            with m.If(left & first):
                m.d.sync += count.eq(0)
            with m.Elif(here):
                m.d.sync += count.eq(count + self.came)
        self._contract(m)
        self._marked(m)
        self._outputs(m, pool)
        self._inside(m, Inside(pool))
        return m

    def _contract(self, m: Module):
        """What the surroundings promise."""
        group, pixels, before = self.group, self.pixels, Signal(16)
        closed, opened = Cat(count == 0 for count in self.counts).all(), Signal(CHANNEL_BITS)
        m.d.sync += before.eq(pixels)
        m.d.comb += [
            # Dispatcher: channels open in order, at most pool_channels at once.
            opened.eq(group.channel - self.next),
            Assume(~self.valid | (opened < self.cfg.pool_channels)),
            # BaseWalk and TaskQueue: each pixel of a channel comes once.
            *(
                Assume(~here | (count + self.came <= pixels))
                for count, here in zip(self.counts, self.here, strict=True)
            ),
            # Engine: a layer begins when all channels of the one before are written, and its
            # groups come later.
            Assume(closed | (pixels == before)),
            Assume(~self.restart | (closed & ~self.valid)),
            Assume(~self.valid | (pixels != 0)),  # the compiler
            # The pointer belongs to the channel (PARAMETER record).
            Assume(~(self.watching & self._is_marked()) | (self._place(group) == self._place())),
        ]

    def _is_marked(self):
        return self.valid & (self.group.channel == self.channel)

    def _place(self, source=None):
        """Where the mean of a group's channel goes, or of the marked one."""
        source = self.marked if source is None else source
        return Cat(source.pointer.as_value(), source.lane)

    def _marked(self, m: Module):
        """The marked channel's sum so far."""
        group, marked = self.group, self.marked
        terms = []
        for row in range(self.cfg.rows):
            value = group.values[row]
            term = Cat(value, value[7] & self.signed).as_signed()
            terms.append(Mux(group.valid[row], term, 0))
        self.subtotal = Signal(signed(self.cfg.accumulator_bits))
        m.d.comb += self.subtotal.eq(sum(terms))
        with m.If(self.left & (self.next == self.channel)):
            m.d.sync += self.watching.eq(0)
        with m.If(self.watching & self._is_marked()):
            m.d.sync += marked.sum.eq(marked.sum + self.subtotal)
        opening = Cat(
            here & (count == 0) for here, count in zip(self.here, self.counts, strict=True)
        ).any()
        with m.If(opening & self.watch & ~self.watching & (self.came != 0)):
            m.d.sync += [
                self.watching.eq(1),
                self.channel.eq(group.channel),
                marked.sum.eq(self.subtotal),
                marked.pointer.eq(group.pointer),
                marked.lane.eq(group.lane),
            ]

    def _outputs(self, m: Module, pool: GlobalAveragePool):
        """A sum leaves when its channel is complete and next in turn, then and only then."""
        complete = Cat(
            first & (count == self.pixels) & (count != 0)
            for first, count in zip(self.first, self.counts, strict=True)
        ).any()
        refused = Signal()
        late = cycles(m, "late", complete & ~pool.o.valid, LATENCY)
        m.d.sync += refused.eq(pool.o.valid & ~self.ready)
        mine = pool.o.valid & self.watching & (self.channel == self.next)
        m.d.comb += [
            Assert(~pool.o.valid | complete),
            Assert(late < LATENCY),
            Assert(~refused | pool.o.valid),
            Assert(~mine | (pool.o.payload.as_value() == self.marked.as_value())),
            Cover(mine & self.ready & (self.next == self.cfg.pool_channels)),
            Cover(mine & (self.pixels > 2 * self.cfg.rows)),
            Cover(Cat(count != 0 for count in self.counts).all()),
        ]

    def _inside(self, m: Module, inside: Inside):
        """What ties the pooling's inner state to the specification, for the induction."""
        arrived, index = inside["arrived"], inside["index"]
        pixels, subtotal = inside["pixels"], Signal(signed(self.cfg.accumulator_bits))
        m.d.comb += subtotal.eq(sum(inside["pairs"]))
        names = "total", "left", "full", "empty", "held_pointer", "held_lane"
        channels = zip(*(inside.every(name) for name in names), strict=True)
        m.d.comb += Assert(inside["oldest"] == self.next[: len(index)])
        m.d.comb += Assert((pixels != 0) | (subtotal == 0))
        opened = Signal(CHANNEL_BITS)
        m.d.comb += opened.eq(self.channel - self.next)
        m.d.comb += Assert(~self.watching | (opened < self.cfg.pool_channels))
        for k, (held_sum, left, full, empty, *place) in enumerate(channels):
            count = self.counts[k]
            sum_ = Mux(empty, 0, held_sum)
            pending = arrived & (index == k)
            total = Signal(signed(self.cfg.accumulator_bits), name=f"total_{k}")
            started = count - Mux(pending, pixels, 0)
            offered = inside.component.o.valid & self.first[k]
            m.d.comb += [
                total.eq(sum_ + Mux(pending, subtotal, 0)),
                Assert(Mux(empty, started == 0, left + started == self.pixels)),
                Assert(empty | (left < self.pixels)),
                Assert(full == (~empty & (left == 0))),
                Assert(~offered | full),
                Assert((count <= self.pixels) | (count == 0)),
                Assert((count != 0) | (total == 0)),
            ]
            with m.If(self.watching & (self.channel[: len(index)] == k)):
                held = Mux(pending, Cat(inside["pointer"], inside["lane"]), Cat(place))
                m.d.comb += [
                    Assert(count != 0),
                    Assert(total == self.marked.sum),
                    Assert(held == self._place()),
                ]


_ONE_ROW = dataclasses.replace(preset("tiny"), name="one-row", rows=1, word=1, pool_channels=2)

PROOFS = [
    Proof(
        block="pool",
        name="sums",
        configuration=config.name,
        statement="channel n's sum leaves n-th, when all its values have come, exact for all values"
        " in any interleaving of pool_channels channels; it waits unchanged until it is taken",
        top=functools.partial(SumsInOrder, config),
        depth=3,
        cover_depth=14,
        quick=config is _ONE_ROW,
    )
    for config in (_ONE_ROW, preset("tiny"))
]
