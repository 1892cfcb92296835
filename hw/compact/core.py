"""The compact engine: register port and memory streams around datapath and stream loader."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.compact.control import CompactControl
from penstock.hw.compact.datapath import Datapath
from penstock.hw.compact.loader import StreamLoader
from penstock.hw.compact.reader import BlockReader
from penstock.hw.compact.results import ResultWriter
from penstock.hw.layouts import memory_signature, register_signature


class CompactCore(wiring.Component):
    """Runs programs (penstock.channel_stream) on images in memory; ports as penstock.hw.core.Core.

    Registers are those of docs/compact.md. One clock, synchronous reset.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "registers": In(register_signature()),
                "memory": Out(memory_signature()),
                "interrupt": Out(1),
            }
        )
        self.control = CompactControl(cfg)
        self.loader = StreamLoader(cfg.hash)
        self.datapath = Datapath(cfg)

    def elaborate(self, platform):
        m = Module()
        m.submodules.control = control = self.control
        m.submodules.loader = loader = self.loader
        m.submodules.datapath = datapath = self.datapath
        m.submodules.reader = reader = BlockReader()
        m.submodules.results = results = ResultWriter()
        memory = self.memory

        wiring.connect(m, wiring.flipped(self.registers), control.bus)
        wiring.connect(m, reader.request, wiring.flipped(memory.read_request))
        wiring.connect(m, wiring.flipped(memory.read_data), reader.data)
        wiring.connect(m, results.request, wiring.flipped(memory.write_request))
        wiring.connect(m, results.data, wiring.flipped(memory.write_data))
        wiring.connect(m, wiring.flipped(memory.write_done), results.done)
        wiring.connect(m, reader.word, loader.word)
        m.d.comb += [
            self.interrupt.eq(control.interrupt),
            control.load_done.eq(loader.load_done),
            control.load_code.eq(loader.load_code),
            control.run_done.eq(loader.run_done),
            control.image_done.eq(loader.image_done),
            control.outstanding.eq(~reader.idle | results.outstanding),
            control.bus_error.eq(reader.error | results.error),
            control.progress.eq(
                datapath.step
                | (memory.read_data.valid & memory.read_data.ready)
                | (memory.write_data.valid & memory.write_data.ready)
            ),
            control.judged.eq(datapath.judged),
            control.kept.eq(datapath.kept),
            control.layer.eq(loader.layer_number),
            loader.load.eq(control.load),
            loader.run.eq(control.run),
            loader.last_image.eq(control.last_image),
            loader.halt.eq(control.halt),
            loader.idle.eq(~datapath.busy & results.idle),
            loader.boundary.eq(reader.idle),
            reader.program.eq(control.program),
            reader.rewind.eq(loader.rewind),
            reader.image.eq(control.input),
            reader.set_image.eq(control.run),
            reader.from_image.eq(loader.from_image),
            reader.want.eq(loader.want),
            reader.ahead.eq(loader.ahead),
            reader.halt.eq(control.halt),
            results.output.eq(control.output),
            results.set_output.eq(control.run),
            results.result.eq(datapath.result),
            results.put.eq(datapath.put),
            results.flush.eq(loader.flush),
            results.halt.eq(control.halt),
            datapath.layer.eq(loader.layer),
            datapath.channel.eq(loader.channel),
            datapath.store.eq(loader.store),
            datapath.start.eq(loader.start),
            datapath.half.eq(loader.half),
            datapath.gating.eq(control.gating),
            datapath.halt.eq(control.halt),
            datapath.image_valid.eq(loader.image_valid),
            datapath.image_byte.eq(loader.image_byte),
        ]
        return m
