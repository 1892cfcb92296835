"""A design with a recorder at its core's activation buffers; simulation only."""

from pathlib import Path

from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    Const,
    Instance,
    Module,
    Mux,
    Signal,
    Value,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.hw.accelerator import Accelerator
from penstock.hw.compact.core import CompactCore
from penstock.hw.core import Core
from penstock.hw.pipeline import delay
from penstock.hw.requantizer import LATENCY as REQUANTIZER_LATENCY
from penstock.sim.waves import SCOPE, Waves

RECORDER = Path(__file__).with_name("recorder.sv")


class Harness(wiring.Component):
    """A design's ports, and ``mark``: a change of it is recorded, to tell apart runs in one file.

    The recorder looks at signals inside the core, so that the design itself needs no port for it.
    ``waves`` adds the signals of penstock.sim.waves.
    """

    def __init__(self, design: Core | CompactCore | Accelerator, *, waves: bool = False):
        self.design = design
        self.waves = waves
        self.core = design.core if isinstance(design, Accelerator) else design
        super().__init__(dict(design.signature.members.items()) | {"mark": In(16)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.design = self.design
        if isinstance(self.design, Accelerator):  # whose clock is a port
            m.domains.sync = domain = ClockDomain("sync")
            m.d.comb += [domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn)]
        self._connect(m)
        if isinstance(self.core, CompactCore):
            self._record_compact(m)
        else:
            self._record(m)
        if self.waves:
            m.submodules[SCOPE] = Waves(self.design)
        return m

    def _connect(self, m: Module):
        """Every port of the design to that of the same name."""
        signature = self.design.signature
        ports = zip(signature.flatten(self), signature.flatten(self.design), strict=True)
        for (_, member, outer), (_, _, inner) in ports:
            target, source = (outer, inner) if member.flow == Out else (inner, outer)
            if isinstance(Value.cast(target), Signal):  # an always-ready stream's ready is none
                m.d.comb += Value.cast(target).eq(Value.cast(source))

    def _record(self, m: Module):
        engine, sequencer, cfg = self.core.engine, self.core.sequencer, self.core.cfg
        written = engine.buffers.ports[0]
        writes = [
            (port, Mux(port.enable & (written.buffer == buffer), written.mask, 0))
            for buffer in range(2)
            for port in written.banks
        ]
        pool = engine.pool.i
        pixels = delay(m, engine.result_pixels, REQUANTIZER_LATENCY, name="pixels").pixels
        start, done = self._layer_events(m)
        m.submodules.recorder = Instance(
            "penstock_recorder",
            p_ROWS=cfg.rows,
            p_WORD=cfg.word,
            p_DATA=8 * max(4, cfg.word),
            i_clk=ClockSignal(),
            i_mark=self.mark,
            i_write_mask=Cat(mask for _, mask in writes),
            i_write_address=Cat(port.address for port, _ in writes),
            i_write_data=Cat(
                Mux(written.load, written.loaded, port.value.replicate(cfg.word))
                for port, _ in writes
            ),
            i_pool_valid=pool.payload.valid & pool.valid.replicate(cfg.rows),
            i_pool_channel=_extended(m, pool.payload.channel, 16),
            i_pool_row_y=Cat(_extended(m, pixel.y, 8) for pixel in pixels),
            i_pool_row_x=Cat(_extended(m, pixel.x, 8) for pixel in pixels),
            i_pool_value=pool.payload.values.as_value(),
            i_layer_start=start,
            i_layer_done=done,
            i_layer=sequencer.layer,
            i_image=sequencer.image,
        )

    def _record_compact(self, m: Module):
        """As `_record`; one value is written at a time, and no pooling is fused."""
        control, loader, datapath = self.core.control, self.core.loader, self.core.datapath
        write = datapath.maps.write
        begun, was_busy, sub_layer = Signal(), Signal(), Signal()
        step = datapath.walk.flags.valid
        m.d.comb += sub_layer.eq(loader.store.layer.any())
        m.d.sync += [begun.eq(~sub_layer & (begun | step)), was_busy.eq(datapath.busy)]
        bank = 9 * write.buffer + 3 * write.place.u + write.place.v
        m.submodules.recorder = Instance(
            "penstock_recorder",
            p_ROWS=1,
            p_WORD=1,
            p_DATA=32,
            i_clk=ClockSignal(),
            i_mark=self.mark,
            i_write_mask=Mux(write.valid, (Const(1, 18) << bank)[:18], 0),
            i_write_address=_extended(m, write.place.address, 11).replicate(18),
            i_write_data=write.value.replicate(18),
            i_pool_valid=Const(0, 1),
            i_pool_channel=Const(0, 16),
            i_pool_row_y=Const(0, 8),
            i_pool_row_x=Const(0, 8),
            i_pool_value=Const(0, 8),
            i_layer_start=step & ~begun,
            i_layer_done=was_busy & ~datapath.busy & loader.channel.last,
            i_layer=_extended(m, loader.layer_number, 16),
            i_image=_extended(m, control.image, 32),
        )

    def _layer_events(self, m: Module):
        """Pulses at a layer's first step and when its last result is written."""
        engine, sequencer = self.core.engine, self.core.sequencer
        begun, was_done = Signal(), Signal(init=1)
        step = engine.dispatcher.step.valid
        m.d.sync += [begun.eq(~sequencer.swap & (begun | step)), was_done.eq(engine.done)]
        return step & ~begun, engine.done & ~was_done


def _extended(m: Module, value, bits: int) -> Signal:
    extended = Signal(bits)
    m.d.comb += extended.eq(value)
    return extended
