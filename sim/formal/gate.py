"""The gate comparator unit equals its contract."""

import functools

from amaranth.hdl import Assert, Assume, Cover, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from penstock.config import Config, preset
from penstock.hw.gate import GateComparator
from penstock.sim.formal.prover import Proof


class Verdict(wiring.Component):
    """A cycle later: ``keep[row] = asked[row] & (partial_sums[row] > threshold)``."""

    def __init__(self, cfg: Config):
        self.cfg = cfg
        sums = data.ArrayLayout(signed(cfg.accumulator_bits), cfg.rows)
        members = {"partial_sums": In(sums), "threshold": In(signed(32)), "asked": In(cfg.rows)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.gate = gate = GateComparator(self.cfg)
        thresholds = [each.eq(self.threshold) for each in gate.thresholds]
        m.d.comb += [
            gate.partial_sums.eq(self.partial_sums),
            gate.asked.eq(self.asked),
            *thresholds,
        ]
        # A threshold is a number of accumulator_bits; the compiler keeps to that.
        limit = 1 << self.cfg.accumulator_bits - 1
        m.d.comb += Assume((self.threshold >= -limit) & (self.threshold < limit))
        started = Signal()
        m.d.sync += started.eq(1)
        for row in range(self.cfg.rows):
            expected, tie = Signal(name=f"expected_{row}"), Signal(name=f"tie_{row}")
            above = self.partial_sums[row] > self.threshold
            m.d.sync += expected.eq(self.asked[row] & above)
            m.d.sync += tie.eq(self.asked[row] & (self.partial_sums[row] == self.threshold))
            with m.If(started):
                m.d.comb += Assert(gate.keep[row] == expected)
            m.d.comb += [Cover(started & gate.keep[row]), Cover(started & tie)]
        return m


PROOFS = [
    Proof(
        block="gate",
        name="verdict",
        configuration=name,
        statement="keep is partial sum > threshold where asked, signed and strict, for all sums"
        " and all thresholds of accumulator_bits",
        top=functools.partial(Verdict, preset(name)),
        depth=3,
    )
    for name in ("tiny", "ulx3s-85f", "asic")
]
