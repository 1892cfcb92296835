"""Global average pooling, fused behind the last convolution."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.layouts import CHANNEL_BITS, bank_pointer_layout
from penstock.hw.pipeline import lookup

LATENCY = 3
"""Cycles from a channel's last values to its sum."""


def pool_input_layout(cfg: Config) -> data.StructLayout:
    """Requantized values of one group of one output channel."""
    return data.StructLayout(
        {
            "values": data.ArrayLayout(8, cfg.rows),
            "valid": cfg.rows,
            "channel": CHANNEL_BITS,
            "pointer": bank_pointer_layout(),  # of the channel's pooled value
            "lane": 4,
        }
    )


def pooled_layout(cfg: Config) -> data.StructLayout:
    """The exact sum of one channel."""
    return data.StructLayout(
        {"sum": signed(cfg.accumulator_bits), "pointer": bank_pointer_layout(), "lane": 4}
    )


class GlobalAveragePool(wiring.Component):
    """``sum over the pixels of a channel``, exact; the mean is one more requantization of it.

    Takes a group per cycle; up to `pool_channels` channels may be open at once, in any
    interleaving. Sums leave in the order of the channels; ``o`` takes backpressure, ``i`` does
    not.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "pixels": In(16),  # of a channel
                "signed": In(1),
                "i": In(stream.Signature(pool_input_layout(cfg), always_ready=True)),
                "o": Out(stream.Signature(pooled_layout(cfg))),
                "restart": In(1),  # channel 0 comes next
            }
        )

    def elaborate(self, platform):
        cfg = self.cfg
        m = Module()
        group = self.i.payload
        bits = (cfg.pool_channels - 1).bit_length()
        terms, ones = [], []
        for row in range(cfg.rows):
            value = group.values[row]
            term = Mux(group.valid[row], Cat(value, value[7] & self.signed), 0).as_signed()
            terms.append(term)
            ones.append(group.valid[row])
        arrived = Signal()
        # Values come from far: in the first cycle each is added to one other at most.
        pairs = [
            Signal(signed(10), name=f"pair_{row}", reset_less=True) for row in range(0, cfg.rows, 2)
        ]
        pixels = Signal(range(cfg.rows + 1))
        index = Signal(bits)
        pointer = Signal(bank_pointer_layout(), reset_less=True)
        lane = Signal(4, reset_less=True)
        m.d.sync += [
            arrived.eq(self.i.valid & group.valid.any()),
            pixels.eq(sum(ones)),
            index.eq(group.channel[:bits]),
            pointer.eq(group.pointer),
            lane.eq(group.lane),
        ]
        m.d.sync += [pair.eq(sum(terms[2 * k :][:2])) for k, pair in enumerate(pairs)]
        oldest, oldest_then = Signal(bits), Signal(bits)
        leaves = Signal()
        offers, full_then = [], []
        for channel in range(cfg.pool_channels):
            # What a channel begins with is 0, whatever stands there.
            empty = Signal(name=f"empty_{channel}", init=1)
            total = Signal(signed(cfg.accumulator_bits), name=f"sum_{channel}", reset_less=True)
            left = Signal(16, name=f"left_{channel}", reset_less=True)  # pixels
            full = Signal(name=f"full_{channel}")
            held_pointer = Signal(bank_pointer_layout(), name=f"pointer_{channel}", reset_less=True)
            held_lane = Signal(4, name=f"lane_{channel}", reset_less=True)
            gone = Signal(name=f"gone_{channel}")
            m.d.comb += gone.eq(self.restart | (leaves & (oldest == channel)))
            full_then.append(full & ~gone)
            due = Mux(empty, self.pixels, left)
            with m.If(arrived & (index == channel)):
                m.d.sync += [
                    empty.eq(0),
                    total.eq(_sum([Mux(empty, 0, total).as_signed(), *pairs])),
                    left.eq(due - pixels),
                    full.eq(due == pixels),
                    held_pointer.eq(pointer),
                    held_lane.eq(lane),
                ]
            with m.If(gone):
                m.d.sync += [empty.eq(1), full.eq(0)]
            offers.append((total, held_pointer, held_lane))
        with m.Switch(oldest):
            for channel, (total, held_pointer, held_lane) in enumerate(offers):
                with m.Case(channel):
                    m.d.comb += [
                        self.o.payload.sum.eq(total),
                        self.o.payload.pointer.eq(held_pointer),
                        self.o.payload.lane.eq(held_lane),
                    ]
        m.d.comb += [
            leaves.eq(self.o.valid & self.o.ready),
            oldest_then.eq(Mux(self.restart, 0, oldest + leaves)),
        ]
        m.d.sync += [oldest.eq(oldest_then), self.o.valid.eq(lookup(full_then, oldest_then))]
        return m


def _sum(terms):
    """The sum of signed terms with one carry chain behind a LUT for each that is more than two."""
    while len(terms) > 2:
        one, two, three, *others = terms
        carries = (one & two) | (one & three) | (two & three)
        terms = [one ^ two ^ three, carries << 1, *others]
    return sum(terms)
