"""The requantizer equals its formula, in two steps, since no solver takes it with its products.

1. "operands": the multipliers are given M, Mr, the residual and the two parts of the sum, and
   ``sum = 2^17 * high + low``, hence ``sum * M = 2^17 * (high * M) + low * M``.
2. "formula": whatever the multipliers give, the results are the formula's of ``2^17 * high product
   + low product`` and of the residual's product, if these lie within what a sum of
   accumulator_bits times M and a residual times Mr can be.

That a multiplier gives the exact product of its operands three cycles later is proven in
`multiplier`. Here `StandIn` takes the place of the multipliers, all else is the hardware's own.
"""

import functools
from unittest import mock

from amaranth.hdl import (
    Assert,
    Assume,
    Const,
    Cover,
    Fragment,
    Module,
    Mux,
    Signal,
    Value,
    signed,
)
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from penstock.config import Config, preset
from penstock.hw import requantizer as hardware
from penstock.hw.multiplier import LATENCY as MULTIPLIER_LATENCY
from penstock.hw.pipeline import delay
from penstock.hw.requantizer import LATENCY, RESIDUAL_DELAY, SPLIT, Requantizer, scale_layout
from penstock.sim.formal.prover import SOLVER, Proof

WIDE = 64
"""Bits of the reference's sums, in which nothing wraps."""


class StandIn(wiring.Component):
    """The ports of Multipliers with nothing behind them: the proof gives the products."""

    def __init__(self, *, count: int, left_bits: int, right_bits: int, target: str):
        super().__init__(
            {
                "left": In(data.ArrayLayout(signed(left_bits), count)),
                "right": In(data.ArrayLayout(signed(right_bits), count)),
                "product": In(data.ArrayLayout(signed(left_bits + right_bits), count)),
            }
        )

    def elaborate(self, platform):
        return Module()


def requantizer_without_multipliers(m: Module, cfg: Config):
    """The requantizer and its (low, high, residual) multipliers, as stand-ins."""
    requantizer, units = Requantizer(cfg), []

    def multipliers(**sizes):
        units.append(StandIn(**sizes))
        return units[-1]

    with mock.patch.object(hardware, "Multipliers", multipliers):
        m.submodules.requantizer = Fragment.get(requantizer, None)
    return requantizer, units


class Operands(wiring.Component):
    """What the multipliers are given, in the cycle in which the requantizer is."""

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "sums": In(data.ArrayLayout(signed(cfg.accumulator_bits), cfg.rows)),
                "multiplier": In(signed(16)),
                "residual": In(data.ArrayLayout(signed(9), cfg.rows)),
                "residual_multiplier": In(signed(16)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        requantizer, (low, high, residual) = requantizer_without_multipliers(m, self.cfg)
        for port in ("sums", "residual", "residual_multiplier"):
            m.d.comb += Value.cast(getattr(requantizer, port)).eq(Value.cast(getattr(self, port)))
        for row in range(self.cfg.rows):
            m.d.comb += requantizer.multipliers[row].eq(self.multiplier)
            split = (high.left[row] << SPLIT) + low.left[row]
            m.d.comb += [
                Assert(split == self.sums[row]),
                Assert((low.left[row] >= 0) & (low.left[row] < 1 << SPLIT)),
                Assert(low.right[row] == self.multiplier),
                Assert(high.right[row] == self.multiplier),
                Assert(residual.left[row] == self.residual[row]),
                Assert(residual.right[row] == self.residual_multiplier),
                Cover((high.left[row] == -1) & (low.left[row] == 1)),
            ]
        return m


class Formula(wiring.Component):
    """The results of free products: ``sat((product + B + r*Mr + 2^(S-1)) >> S)``.

    ``product`` is what the low and the high multiplier give together, ``r*Mr`` what the residual's
    gives. All in one expression, with one rounding and one shift.
    """

    def __init__(self, cfg: Config, shift: int | None = None):
        self.cfg = cfg
        self.shift = shift
        constants = {
            "relu_before_add": 1,
            "raw": 1,
            "layer_scale": scale_layout(),
            "pool_scale": scale_layout(),
        }
        products = data.ArrayLayout(signed(18 + 16), cfg.rows)
        super().__init__(
            {
                "low": In(products),
                "high": In(products),
                "bias": In(signed(40)),
                "pooled": In(1),
                "residual": In(products),
                "constants": In(data.StructLayout(constants)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        requantizer, units = requantizer_without_multipliers(m, self.cfg)
        constants = self.constants
        self._constants(m)
        m.d.comb += [
            requantizer.bias.eq(self.bias),
            requantizer.pooled.eq(self.pooled),
            requantizer.relu_before_add.eq(constants.relu_before_add),
            requantizer.raw.eq(constants.raw),
            requantizer.layer_scale.eq(constants.layer_scale),
            requantizer.pool_scale.eq(constants.pool_scale),
        ]
        # The products leave a multiplier later than what comes with its operands.
        bias = delay(m, self.bias, LATENCY, name="bias")
        pooled = delay(m, self.pooled, LATENCY, name="pooled")
        scale = Signal(scale_layout())
        m.d.comb += scale.eq(Mux(pooled, constants.pool_scale, constants.layer_scale))
        # Two cycles later than need be: the base of the induction then has nothing to show.
        settled = delay(m, Const(1, 1), LATENCY + 2, name="settled", control=True)
        for row in range(self.cfg.rows):
            low, high, residual = (port[row] for port in (self.low, self.high, self.residual))
            for unit, product in zip(units, (low, high, residual), strict=True):
                m.d.comb += unit.product[row].eq(product)
            product = Signal(signed(WIDE), name=f"product_{row}")
            m.d.comb += product.eq((high << SPLIT) + low)
            # What a sum times M can be, and a residual times Mr: |M|, |Mr| <= 2^15.
            self._limit(m, product, 1 << self.cfg.accumulator_bits - 1 + 15)
            self._limit(m, residual, 1 << 8 + 15)
            product = delay(m, product, LATENCY - MULTIPLIER_LATENCY, name=f"product_{row}")
            wait = LATENCY - RESIDUAL_DELAY - MULTIPLIER_LATENCY
            residual = delay(m, residual, wait, name=f"residual_{row}")
            first, total, shifted, value = self._expected(
                m, row, product, bias, residual, pooled, scale
            )
            if self.cfg.accumulator_bits < 23:  # with more, everything fits
                self._fits(m, (total, first))
            with m.If(settled):
                m.d.comb += Assert(requantizer.values[row] == value[:8])
                if row == 0:
                    m.d.comb += Assert(requantizer.word == total[:32].as_signed())
            m.d.comb += [
                Cover(settled & ~pooled & (shifted == scale.low - 9) & (scale.shift == 9)),
                Cover(settled & pooled & (shifted == scale.high) & (scale.low != scale.high)),
            ]
        return m

    def _constants(self, m: Module):
        # They change between layers only, when nothing is in flight: the engine swaps layers when
        # every result of the last one is written (Engine._layers).
        before, started = Signal.like(self.constants), Signal()
        m.d.sync += [before.eq(self.constants), started.eq(1)]
        with m.If(started):
            m.d.comb += Assume(self.constants.as_value() == before.as_value())
        for scale in (self.constants.layer_scale, self.constants.pool_scale):
            # Network refuses bounds that are not ordered.
            m.d.comb += Assume(scale.low <= scale.high)
            if self.shift is not None:
                m.d.comb += Assume(scale.shift == self.shift)

    def _limit(self, m: Module, product, limit: int):
        m.d.comb += Assume((product >= -limit) & (product <= limit))

    def _fits(self, m: Module, sums):
        # The compiler refuses layers whose sums do not fit (lowering._check_requantization and
        # _check_fused_pool).
        limit = 1 << self.cfg.sum_bits - 1
        for value in sums:
            m.d.comb += Assume((value >= -limit) & (value < limit))

    def _expected(self, m: Module, row: int, product, bias, residual, pooled, scale):
        """Terms of the formula, its word and value; nothing is rounded where nothing is shifted."""
        constants = self.constants
        first, total, shifted, value = (
            Signal(signed(WIDE), name=f"{name}_{row}")
            for name in ("first", "total", "shifted", "value")
        )
        clip = constants.relu_before_add & ~pooled & (product + bias < 0)
        rounds = (pooled | ~constants.raw) & (scale.shift != 0)
        rounding = Mux(rounds, (Const(1, WIDE) << scale.shift) >> 1, 0)
        m.d.comb += [
            first.eq(Mux(clip, 0, product + bias)),
            total.eq(first + (Mux(pooled, 0, residual) + rounding.as_signed())),
            shifted.eq(total >> scale.shift),
            value.eq(shifted),
        ]
        with m.If(shifted < scale.low):
            m.d.comb += value.eq(scale.low)
        with m.Elif(shifted > scale.high):
            m.d.comb += value.eq(scale.high)
        return product + bias, total, shifted, value


PROOFS = [
    *(
        Proof(
            block="requantizer",
            name="operands",
            configuration=name,
            statement="the multipliers are given M, Mr, r and both parts of the sum, exactly",
            top=functools.partial(Operands, preset(name)),
            depth=2,
        )
        for name in ("tiny", "ulx3s-85f")
    ),
    *(
        Proof(
            block="requantizer",
            name="formula",
            configuration=f"one row, {bits} bits, {'all shifts' if shift is None else 'S = 9'}",
            statement="values and word are the formula's, with one rounding, for all products that "
            "the multipliers can give, biases, bounds and residual products, 10 cycles later",
            top=functools.partial(
                Formula, Config(rows=1, word=1, accumulator_bits=bits), shift=shift
            ),
            depth=LATENCY + 1,
            cover_depth=LATENCY + 4,
            engine=f"smtbmc --unroll {SOLVER}",
            quick=shift is not None,
        )
        for bits, shift in ((24, 9), (18, None), (24, None), (26, None), (32, None))
    ),
]
