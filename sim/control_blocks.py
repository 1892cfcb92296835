"""The blocks that decide what the array works on, side by side in one simulator."""

import dataclasses

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import MEMORY_BITS, Config
from penstock.hw.dispatcher import Dispatcher
from penstock.hw.in_flight import InFlight
from penstock.hw.layer_fetch import GroupTable, LayerFetch
from penstock.hw.layouts import (
    PIXEL_BITS,
    bank_pointer_layout,
    ram_write_signature,
    record_layout,
)
from penstock.hw.pointers import ResultPointers
from penstock.hw.ram import Ram
from penstock.hw.sequencer import Sequencer
from penstock.program import DESCRIPTOR, GROUP, PARAMETER
from penstock.sim.blocks import Blocks


class ControlBlocks(Blocks):
    """Each block's ports, behind its name; ``more`` are further ports.

    The sequencer is there for resident and for streamed weights, whichever the configuration has.
    """

    def make(self, cfg: Config) -> dict[str, wiring.Component]:
        return {
            "dispatcher": Dispatcher(cfg),
            "tables": LayerTables(cfg),
            "in_flight": InFlight(cfg),
            "resident": Sequencer(dataclasses.replace(cfg, weights="resident")),
            "streamed": Sequencer(dataclasses.replace(cfg, weights="streamed")),
        }


class LayerTables(wiring.Component):
    """From the program RAM to what a layer looks up in its tables, as in the engine.

    ``half`` is the half of the tables that is read; a fetch writes the other one.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        self.fetcher = LayerFetch()
        self.groups = GroupTable(cfg)
        self.pointers = ResultPointers(cfg)
        pixels = data.ArrayLayout(PIXEL_BITS, cfg.rows)
        pointers = data.ArrayLayout(bank_pointer_layout(), cfg.rows)
        super().__init__(
            {
                "program_write": In(ram_write_signature(16, MEMORY_BITS)),
                "fetch": In(1),
                "index": In(16),
                "layer": Out(record_layout(DESCRIPTOR)),
                "described": Out(1),
                "ready": Out(1),
                "half": In(1),
                "group": In(6),
                "entry": Out(record_layout(GROUP)),
                "y": In(pixels),
                "x": In(pixels),
                "parameter": In(record_layout(PARAMETER)),
                "output": Out(pointers),
                "residual": Out(pointers),
            }
        )

    def elaborate(self, platform):
        cfg, write = self.cfg, self.program_write
        m = Module()
        m.submodules.program = program = Ram(
            width=MEMORY_BITS, depth=cfg.program_words, target=cfg.target
        )
        m.submodules.fetcher = fetcher = self.fetcher
        m.submodules.groups = groups = self.groups
        m.submodules.pointers = pointers = self.pointers
        m.d.comb += [
            program.write_enable.eq(write.enable),
            program.write_address.eq(write.address),
            program.write_data.eq(write.data),
            program.read_address.eq(fetcher.address),
            fetcher.data.eq(program.read_data),
            fetcher.fetch.eq(self.fetch),
            fetcher.index.eq(self.index),
            self.layer.eq(fetcher.layer),
            self.described.eq(fetcher.described),
            self.ready.eq(fetcher.ready),
            groups.write.eq(fetcher.write),
            groups.half.eq(self.half),
            groups.address.eq(self.group),
            self.entry.eq(groups.entry),
            pointers.table_write.eq(fetcher.write),
            pointers.half.eq(self.half),
            pointers.y.eq(self.y),
            pointers.x.eq(self.x),
            pointers.parameter.eq(self.parameter),
            self.output.eq(pointers.output),
            self.residual.eq(pointers.residual),
        ]
        return m
