"""The base groups of a layer, in order."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.layouts import (
    CHANNEL_BITS,
    PIXEL_BITS,
    STEP_BITS,
    WEIGHT_ADDRESS_BITS,
    pixel_layout,
    record_layout,
)
from penstock.program import DESCRIPTOR


class BaseWalk(wiring.Component):
    """Walks the base groups of a layer: channels in order, each over the blocks of the map.

    ``pixels`` is the current block; ``take`` moves on, one block per cycle.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "layer": In(record_layout(DESCRIPTOR)),
                "start": In(1),
                "take": In(1),
                "group_steps": In(STEP_BITS + 1),  # weight words of one channel
                "left": Out(1),
                "opening": Out(1),  # first block of its channel
                "closing": Out(1),  # last block of its channel
                "leaving_group": Out(1),  # the next block belongs to another group
                "channel": Out(CHANNEL_BITS),
                "group": Out(6),
                "weight_address": Out(WEIGHT_ADDRESS_BITS),
                "pixels": Out(data.ArrayLayout(pixel_layout(), cfg.rows)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer = self.layer
        height, width = self.cfg.block
        x, y = Signal(PIXEL_BITS), Signal(PIXEL_BITS)  # first pixel of the block
        columns = _Countdown(layer.block_columns, name="columns")
        rows = _Countdown(layer.block_rows, name="rows")
        in_group = _Countdown(layer.group_channels, name="in_group")
        channels = _Countdown(layer.channels, name="channels")
        m.d.comb += [
            self.closing.eq(columns.last & rows.last),
            self.leaving_group.eq(self.closing & in_group.last),
        ]
        for index, pixel in enumerate(self.pixels):
            m.d.comb += [
                pixel.y.eq(y + index // width),
                pixel.x.eq(x + index % width),
                pixel.valid.eq(
                    (y + index // width < layer.height) & (x + index % width < layer.width)
                ),
            ]
        with m.If(self.take):
            m.d.sync += [x.eq(x + width), self.opening.eq(0)]
            columns.step(m)
            with m.If(columns.last):
                m.d.sync += [x.eq(0), y.eq(y + height)]
                rows.step(m)
            with m.If(self.closing):
                m.d.sync += [
                    y.eq(0),
                    self.opening.eq(1),
                    self.channel.eq(self.channel + 1),
                    self.weight_address.eq(self.weight_address + self.group_steps),
                    self.left.eq(~channels.last),
                ]
                channels.step(m)
                in_group.step(m)
            with m.If(self.leaving_group):
                m.d.sync += self.group.eq(self.group + 1)
        with m.If(self.start):
            m.d.sync += [
                self.left.eq(1),
                self.opening.eq(1),
                self.channel.eq(0),
                self.group.eq(0),
                self.weight_address.eq(layer.weight_address),
                x.eq(0),
                y.eq(0),
            ]
            for count in (columns, rows, in_group, channels):
                count.begin(m)
        return m


class _Countdown:
    """Goes around ``length`` steps, at least one; a register tells the ``last``."""

    def __init__(self, length, *, name: str):
        self.length = length
        self.left = Signal.like(length, name=f"{name}_left")  # steps, this one included
        self.last = Signal(name=f"last_of_{name}")

    def begin(self, m: Module):
        """The first step is the next one."""
        m.d.sync += [self.left.eq(self.length), self.last.eq(self.length == 1)]

    def step(self, m: Module):
        """Go on by one step."""
        with m.If(self.last):
            self.begin(m)
        with m.Else():
            m.d.sync += [self.left.eq(self.left - 1), self.last.eq(self.left == 2)]
