"""The core with a recorder at its activation buffers; simulation only."""

from pathlib import Path

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.core import Core
from penstock.hw.layouts import memory_signature, register_signature
from penstock.hw.pipeline import delay
from penstock.hw.requantizer import LATENCY as REQUANTIZER_LATENCY

RECORDER = Path(__file__).with_name("recorder.sv")


class Harness(wiring.Component):
    """The core's ports, and ``mark``: a change of it is recorded, to tell apart runs in one file.

    The recorder looks at signals inside the core, so that the core itself needs no port for it.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        self.core = Core(cfg)
        super().__init__(
            {
                "registers": In(register_signature()),
                "memory": Out(memory_signature()),
                "interrupt": Out(1),
                "mark": In(16),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = self.core
        wiring.connect(m, wiring.flipped(self.registers), core.registers)
        wiring.connect(m, core.memory, wiring.flipped(self.memory))
        m.d.comb += self.interrupt.eq(core.interrupt)

        self._record(m)
        return m

    def _record(self, m: Module):
        engine, sequencer = self.core.engine, self.core.sequencer
        writes = [port for buffer in engine.buffers.ports for port in buffer]
        pool = engine.pool.i
        pixels = delay(m, engine.result_pixels, REQUANTIZER_LATENCY, name="pixels").pixels
        start, done = self._layer_events(m)
        m.submodules.recorder = Instance(
            "penstock_recorder",
            p_ROWS=self.cfg.rows,
            p_WORD=self.cfg.word,
            p_DATA=8 * max(4, self.cfg.word),
            i_clk=ClockSignal(),
            i_mark=self.mark,
            i_write_mask=Cat(port.mask for port in writes),
            i_write_address=Cat(port.address for port in writes),
            i_write_data=Cat(port.data for port in writes),
            i_pool_valid=pool.payload.valid & pool.valid.replicate(self.cfg.rows),
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
