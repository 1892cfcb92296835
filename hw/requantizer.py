"""Requantization: from exact sums to activations, the residual included, with one rounding."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.multiplier import LATENCY as MULTIPLIER_LATENCY
from penstock.hw.multiplier import Multipliers
from penstock.hw.pipeline import delay, own_register, spread

SPLIT = 17
"""Low bits of a sum that one signed 18-bit multiplier operand takes."""

LATENCY = MULTIPLIER_LATENCY + 7
"""Cycles from sums to values."""

RESIDUAL_DELAY = 2
"""Cycles after its sum at which a residual is taken."""


FINE_BITS = 3
"""Of a shift: by up to 7, behind one by a multiple of 8."""

LIMIT_BITS = 9 + (1 << FINE_BITS)
"""A bound, not yet shifted by that."""


def scale_layout() -> data.StructLayout:
    """Constants of one layer's (or one pooling's) requantization."""
    return data.StructLayout({"shift": 5, "low": signed(9), "high": signed(9)})


def _limited_scale_layout() -> data.StructLayout:
    """With what is less than ``low``, or more than ``high``, before the fine shift."""
    limits = {"least": signed(LIMIT_BITS), "beyond": signed(LIMIT_BITS)}
    return data.StructLayout({"scale": scale_layout(), **limits})


class Requantizer(wiring.Component):
    """``value = sat((sum*M + B + r*Mr + 2^(S-1)) >> S)``, round half up; one row of results per
    cycle.

    With ``relu_before_add`` the first two terms are clipped at 0. ``word`` is the unrounded,
    unshifted sum of the terms, 32 bits (classifier: M = 1). Sums, M, B and ``pooled`` (take the
    pooling's constants) come together, the residual 2 cycles later; latency 10 cycles from the
    sums. No backpressure. Three multipliers per row: the sum is split into 17 low bits and the
    rest.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "sums": In(data.ArrayLayout(signed(cfg.accumulator_bits), cfg.rows)),
                "multipliers": In(data.ArrayLayout(signed(16), cfg.rows)),  # the same for each row
                "bias": In(signed(40)),
                "pooled": In(1),
                "residual": In(data.ArrayLayout(signed(9), cfg.rows)),
                "residual_multiplier": In(signed(16)),
                "relu_before_add": In(1),
                "raw": In(1),
                "layer_scale": In(scale_layout()),
                "pool_scale": In(scale_layout()),
                "values": Out(data.ArrayLayout(8, cfg.rows)),
                "word": Out(signed(32)),
            }
        )

    def elaborate(self, platform):
        cfg = self.cfg
        m = Module()
        total_bits = cfg.sum_bits
        product_bits = cfg.accumulator_bits + 16

        def multipliers(name: str, left, rights):
            unit = Multipliers(count=cfg.rows, left_bits=18, right_bits=16, target=cfg.target)
            m.submodules[name] = unit
            for row in range(cfg.rows):
                m.d.comb += [unit.left[row].eq(left(row)), unit.right[row].eq(rights[row])]
            return unit.product

        low = multipliers(
            "low", lambda row: Cat(self.sums[row][:SPLIT], Const(0, 1)), self.multipliers
        )
        high = multipliers("high", lambda row: self.sums[row][SPLIT:].as_signed(), self.multipliers)
        residual = multipliers(
            "residual", lambda row: self.residual[row], [self.residual_multiplier] * cfg.rows
        )

        def to_rows(value, name: str):
            """A cycle later, in registers that are near."""
            return spread(m, value, cfg.rows, cycles=1, name=name)

        biases = spread(m, self.bias, cfg.rows, cycles=MULTIPLIER_LATENCY + 1, name="bias")
        # Not that of the item, which lies elsewhere.
        pooled = own_register(m, self.pooled, name="own_pooled")
        pooled = delay(m, pooled, MULTIPLIER_LATENCY, name="pooled")
        rounds = [self._rounding(m, "layer", self.layer_scale, ~self.raw)]
        rounds.append(self._rounding(m, "pool", self.pool_scale, Const(1, 1)))
        roundings = to_rows(Mux(pooled, rounds[1], rounds[0]), "rounding")
        last = delay(m, pooled, 2, name="last_pooled")
        pooled = to_rows(pooled, "pooled_row")
        limited = [
            self._limited(m, name, scale)
            for name, scale in (("pool", self.pool_scale), ("layer", self.layer_scale))
        ]
        scales = to_rows(Mux(last, self.pool_scale, self.layer_scale), "scale")
        coarse_scales = spread(m, Mux(last, *limited), cfg.rows, cycles=2, name="coarse_scale")
        words = []
        for row in range(cfg.rows):
            product = Signal(signed(product_bits), name=f"product_{row}", reset_less=True)
            biased = Signal(signed(total_bits), name=f"biased_{row}", reset_less=True)
            clipped = Signal(signed(total_bits), name=f"clipped_{row}", reset_less=True)
            added = Signal(signed(32), name=f"added_{row}", reset_less=True)
            total = Signal(signed(total_bits), name=f"total_{row}", reset_less=True)
            coarse = Signal(signed(total_bits), name=f"coarse_{row}", reset_less=True)
            fine = Signal(8, name=f"fine_{row}", reset_less=True)
            below = Signal(name=f"below_{row}", reset_less=True)
            above = Signal(name=f"above_{row}", reset_less=True)
            value = Signal(8, name=f"value_{row}", reset_less=True)
            scale = data.View(scale_layout(), scales[row])
            limits = data.View(_limited_scale_layout(), coarse_scales[row])
            bounds = delay(m, limits.scale, 1, name=f"bounds_{row}")
            negative = self.relu_before_add & ~pooled[row] & biased[-1]
            m.d.sync += [
                product.eq((high[row] << SPLIT) + low[row]),
                biased.eq(product + biases[row].as_signed()),
                clipped.eq(Mux(negative, 0, biased)),
                added.eq(Mux(pooled[row], 0, residual[row]) + roundings[row]),
                total.eq(clipped + added),
                coarse.eq(total >> (scale.shift[FINE_BITS:] << FINE_BITS)),
                fine.eq(coarse >> limits.scale.shift[:FINE_BITS]),
                value.eq(Mux(below, bounds.low, Mux(above, bounds.high, fine))),
            ]
            # Compared before the fine shift, as signs of differences: nothing lies behind a carry
            # chain but whether there are bits above it.
            negative, top = coarse[-1], coarse[LIMIT_BITS - 1 :]
            wide = top != negative.replicate(len(top))
            kept = coarse[:LIMIT_BITS].as_signed()
            m.d.sync += [
                below.eq(Mux(wide, negative, (kept - limits.least)[-1])),
                above.eq(~Mux(wide, negative, (kept - limits.beyond)[-1])),
            ]
            m.d.comb += self.values[row].eq(value)
            words.append(total[:32])
        m.d.comb += self.word.eq(delay(m, words[0], 3, name="word").as_signed())
        return m

    def _limited(self, m: Module, name: str, scale):
        """The scale with its limits, constants of the layer."""
        limited = Signal(_limited_scale_layout(), name=f"{name}_limited", reset_less=True)
        fine = scale.shift[:FINE_BITS]
        m.d.sync += [
            limited.scale.eq(scale),
            limited.least.eq(scale.low << fine),
            limited.beyond.eq((scale.high + 1) << fine),
        ]
        return limited

    def _rounding(self, m: Module, name: str, scale, enable):
        """2^(S-1), a constant of the layer; 0 where nothing is shifted."""
        shift = delay(m, Mux(enable, scale.shift, 0), 1, name=f"{name}_shift")
        rounding = Signal(31, name=f"{name}_rounding", reset_less=True)
        m.d.sync += rounding.eq((Const(1, 32) << shift)[1:32])
        return rounding
