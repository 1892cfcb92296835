"""The gate comparator unit: which outputs need the conditional path."""

from amaranth.hdl import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config

LATENCY = 1
"""Cycles from partial sums to the verdict."""


class GateComparator(wiring.Component):
    """``keep[row] = asked[row] & (partial_sums[row] > threshold)``: strict, a tie is skipped.

    One group of partial sums per cycle, latency 1 cycle, no backpressure.
    Source: Hua et al., NeurIPS 2019, with the gate's batch norm folded into the threshold.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "partial_sums": In(data.ArrayLayout(signed(cfg.accumulator_bits), cfg.rows)),
                # The same for each row.
                "thresholds": In(data.ArrayLayout(signed(cfg.accumulator_bits), cfg.rows)),
                "asked": In(cfg.rows),  # rows with an output to be judged
                "keep": Out(cfg.rows),
            }
        )

    def elaborate(self, platform):
        m = Module()
        for row in range(self.cfg.rows):
            # The sign of an exact difference: the last bit of one carry chain, nothing behind it.
            difference = self.thresholds[row] - self.partial_sums[row]
            m.d.sync += self.keep[row].eq(self.asked[row] & difference[-1])
        return m
