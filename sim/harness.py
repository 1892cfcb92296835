"""A design with a recorder at its core's activation buffers; simulation only."""

from pathlib import Path

from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    Instance,
    Module,
    Mux,
    Signal,
    Value,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.hw.accelerator import Accelerator
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

    def __init__(self, design: Core | Accelerator, *, waves: bool = False):
        self.design = design
        self.waves = waves
        self.core = design if isinstance(design, Core) else design.core
        super().__init__(dict(design.signature.members.items()) | {"mark": In(16)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.design = self.design
        if isinstance(self.design, Accelerator):  # whose clock is a port
            m.domains.sync = domain = ClockDomain("sync")
            m.d.comb += [domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn)]
        self._connect(m)
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
        writes = [(port, port.masks[buffer]) for buffer in range(2) for port in written.banks]
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
                Mux(port.load, written.loaded, port.value.replicate(cfg.word)) for port, _ in writes
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
