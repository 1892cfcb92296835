"""Where each result of a group is written, and where its residual is read."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.layer_fetch import PixelTables, table_write_layout
from penstock.hw.layouts import (
    ADDRESS_BITS,
    PIXEL_BITS,
    bank_pointer_layout,
    record_layout,
    used_address_bits,
)
from penstock.hw.pipeline import add3, delay
from penstock.hw.ram import LATENCY as RAM_LATENCY
from penstock.program import PARAMETER

LATENCY = RAM_LATENCY + 2
"""Cycles from a pixel to its pointers."""


class ResultPointers(wiring.Component):
    """Bank and address of the output and of the residual of each row's pixel
    (docs/architecture.md).

    ``u = (y%3 + a) % 3``, ``v = (n%3 + b) % 3``, ``address = channel address + cell``. One group
    per cycle, latency 4 cycles; ``parameter`` belongs to the pixels of 2 cycles before. No
    backpressure.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        pixels = data.ArrayLayout(PIXEL_BITS, cfg.rows)
        pointers = data.ArrayLayout(bank_pointer_layout(), cfg.rows)
        super().__init__(
            {
                "table_write": In(table_write_layout()),
                "half": In(1),
                "y": In(pixels),
                "x": In(pixels),
                "parameter": In(record_layout(PARAMETER)),
                "output": Out(pointers),
                "residual": Out(pointers),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.tables = tables = PixelTables(self.cfg, output=True)
        m.d.comb += [
            tables.write.eq(self.table_write),
            tables.half.eq(self.half),
            tables.y.eq(self.y),
            tables.x.eq(self.x),
        ]
        parameter = delay(m, self.parameter, 1, name="parameter")
        address_bits = used_address_bits(self.cfg)
        for row in range(self.cfg.rows):
            for kind, port in (("output", self.output[row]), ("residual", self.residual[row])):
                pointer = Signal.like(port, name=f"{kind}_{row}", reset_less=True)
                m.d.comb += port.eq(pointer)
                record, column = tables.row[row], tables.column[row]
                phases = record[f"{kind}_phase"], column[f"{kind}_phase"]
                cell = Signal(ADDRESS_BITS, name=f"{kind}_cell_{row}", reset_less=True)
                phase = Signal(2, name=f"{kind}_phase_{row}", reset_less=True)
                residue = Signal(2, name=f"{kind}_residue_{row}", reset_less=True)
                m.d.sync += [
                    cell.eq(
                        record[f"{kind}_cell"]
                        + column[f"{kind}_cell"]
                        + (phases[0] + phases[1] >= 3)
                    ),
                    phase.eq(add3(*phases)),
                    residue.eq(record[f"{kind}_residue"]),
                    pointer.u.eq(add3(residue, parameter[f"{kind}_a"])),
                    pointer.v.eq(add3(phase, parameter[f"{kind}_b"])),
                    pointer.address.eq((parameter[f"{kind}_address"] + cell)[:address_bits]),
                ]
        return m
