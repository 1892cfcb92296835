"""The channel-gating array: rows of multipliers, an adder tree and an accumulator for each row."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.multiplier import LATENCY as MULTIPLIER_LATENCY
from penstock.hw.multiplier import Multipliers


def tree_levels(cfg: Config) -> int:
    """Registered levels of the adder tree of one row."""
    return (cfg.lanes - 1).bit_length()


def sum_latency(cfg: Config) -> int:
    """Cycles from operands to their sum, which the accumulator takes."""
    return MULTIPLIER_LATENCY + tree_levels(cfg)


def neighbours(cfg: Config) -> list[int]:
    """The lanes of a row as they lie and are added: by row of the window, channel, column."""
    return [
        (3 * i + j) * cfg.word + channel
        for i in range(3)
        for channel in range(cfg.word)
        for j in range(3)
    ]


class ChannelGatingArray(wiring.Component):
    """``sums[row] = start + sum over the steps of a group, sum over lanes of operand * weight``.

    ``start`` is 0 for a base group, the row's stored partial sum for a conditional group. One step
    per cycle, groups without a gap. ``first``, ``conditional`` and ``stored`` belong to the step
    whose operands came `sum_latency` cycles before; its sum stands in ``sums`` one cycle later. No
    backpressure.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        operand, weight = signed(cfg.activation_bits + 1), signed(cfg.weight_bits)
        sums = data.ArrayLayout(signed(cfg.accumulator_bits), cfg.rows)
        super().__init__(
            {
                "operands": In(data.ArrayLayout(data.ArrayLayout(operand, cfg.lanes), cfg.rows)),
                "weights": In(data.ArrayLayout(weight, cfg.lanes)),
                "first": In(cfg.rows),  # the same bit for each row
                "conditional": In(1),
                "stored": In(sums),
                "sums": Out(sums),
            }
        )

    def elaborate(self, platform):
        cfg = self.cfg
        m = Module()
        for row in range(cfg.rows):
            multipliers = Multipliers(
                count=cfg.lanes,
                left_bits=cfg.activation_bits + 1,
                right_bits=cfg.weight_bits,
                target=cfg.target,
            )
            m.submodules[f"multipliers_{row}"] = multipliers
            m.d.comb += [
                multipliers.left.eq(self.operands[row]),
                multipliers.right.eq(self.weights),
            ]
            # Side by side what comes from one channel and row of a window: one place has to choose
            # its three taps from the same three words.
            terms = [multipliers.product[lane] for lane in neighbours(cfg)]
            for level in range(tree_levels(cfg)):
                terms = _add_pairs(m, terms, f"tree_{row}_{level}")
            start = Mux(self.conditional, self.stored[row], 0)
            total = Signal.like(self.sums[row], name=f"sum_{row}", reset_less=True)
            m.d.sync += total.eq(Mux(self.first[row], start, total) + terms[0])
            m.d.comb += self.sums[row].eq(total)
        return m


def _add_pairs(m: Module, terms, name: str):
    """One registered level: neighbours added, a single last one passed on."""
    sums = []
    for index in range(0, len(terms), 2):
        pair = terms[index : index + 2]
        total = pair[0] + pair[1] if len(pair) == 2 else pair[0]
        register = Signal(total.shape(), name=f"{name}_{index // 2}", reset_less=True)
        m.d.sync += register.eq(total)
        sums.append(register)
    return sums
