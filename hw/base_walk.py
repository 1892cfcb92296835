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
        column, row = Signal(PIXEL_BITS), Signal(PIXEL_BITS)  # blocks
        x, y = Signal(PIXEL_BITS), Signal(PIXEL_BITS)  # first pixel of the block
        in_group = Signal(CHANNEL_BITS)
        last_column, last_in_group = Signal(), Signal()
        m.d.comb += [
            last_column.eq(column == layer.block_columns - 1),
            last_in_group.eq(in_group == layer.group_channels - 1),
            self.opening.eq((column == 0) & (row == 0)),
            self.closing.eq(last_column & (row == layer.block_rows - 1)),
            self.leaving_group.eq(self.closing & last_in_group),
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
            m.d.sync += [column.eq(column + 1), x.eq(x + width)]
            with m.If(last_column):
                m.d.sync += [column.eq(0), x.eq(0), row.eq(row + 1), y.eq(y + height)]
            with m.If(self.closing):
                m.d.sync += [
                    row.eq(0),
                    y.eq(0),
                    self.channel.eq(self.channel + 1),
                    self.weight_address.eq(self.weight_address + self.group_steps),
                    in_group.eq(in_group + 1),
                    self.left.eq(self.channel != layer.channels - 1),
                ]
            with m.If(self.leaving_group):
                m.d.sync += [in_group.eq(0), self.group.eq(self.group + 1)]
        with m.If(self.start):
            m.d.sync += [
                self.left.eq(1),
                self.channel.eq(0),
                self.group.eq(0),
                self.weight_address.eq(layer.weight_address),
                in_group.eq(0),
            ]
            m.d.sync += [column.eq(0), row.eq(0), x.eq(0), y.eq(0)]
        return m
