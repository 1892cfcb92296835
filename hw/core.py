"""The core: register port and memory streams around the engine."""

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.control import Control
from penstock.hw.engine import Engine
from penstock.hw.input_loader import InputLoader
from penstock.hw.layouts import (
    bank_word_layout,
    memory_signature,
    read_data_layout,
    register_signature,
)
from penstock.hw.memory import ReadArbiter
from penstock.hw.output_writer import OutputWriter, raw_result_layout
from penstock.hw.program_loader import ProgramLoader
from penstock.hw.register_slice import LateReadySlice, RegisterSlice, SkidBuffer
from penstock.hw.reset import own_reset
from penstock.hw.sequencer import Sequencer
from penstock.hw.weight_loader import WeightLoader


class Core(wiring.Component):
    """Runs programs (penstock.program) on images in memory; registers as in penstock.registers.

    ``interrupt`` is high from the end of a command until the next accepted one. Each memory stream
    keeps to valid/ready; one clock, synchronous reset of two cycles or more.
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
        self.control = Control(cfg)
        self.engine = Engine(cfg)
        self.sequencer = Sequencer(cfg)

    def elaborate(self, platform):
        cfg, control, engine, sequencer = self.cfg, self.control, self.engine, self.sequencer
        m = Module()
        m.submodules.control = control
        # The reset of most flip-flops comes straight from one: its wires alone take a cycle. Behind
        # the halt by one, it lasts into the first cycle that may take a START.
        m.domains.engine = ClockDomain(local=True)
        clear = Signal(init=1)
        m.d.sync += clear.eq(control.halt)
        m.d.comb += [ClockSignal("engine").eq(ClockSignal()), ResetSignal("engine").eq(clear)]
        m.submodules.engine = DomainRenamer("engine")(engine)
        m.submodules.sequencer = DomainRenamer("engine")(sequencer)
        program_loader, input_loader = ProgramLoader(cfg), InputLoader(cfg)
        m.submodules.program_loader = own_reset(m, program_loader, "loader", init=0)
        m.submodules.input_loader = own_reset(m, input_loader, "input", init=1)
        m.submodules.output_writer = output_writer = OutputWriter()  # valid falls with the reset
        readers = [input_loader, program_loader]
        if cfg.weights == "streamed":
            m.submodules.weight_loader = weight_loader = WeightLoader(cfg)
            readers.append(weight_loader)
        m.submodules.arbiter = arbiter = ReadArbiter(len(readers))
        # Cut the handshakes between memory and write queue; a halt outlasts what is in them.
        m.submodules.beats = beats = SkidBuffer(read_data_layout())
        m.submodules.load = load = RegisterSlice(bank_word_layout(cfg))
        m.submodules.word = word = LateReadySlice(raw_result_layout())
        memory = self.memory
        header = program_loader.header

        # Memory.
        for index, client in enumerate(readers):
            wiring.connect(m, client.request, arbiter.request[index])
            takes = beats.i if client is input_loader else client.data
            wiring.connect(m, arbiter.data[index], takes)
        wiring.connect(m, beats.o, input_loader.data)
        wiring.connect(m, arbiter.read_request, wiring.flipped(memory.read_request))
        wiring.connect(m, wiring.flipped(memory.read_data), arbiter.read_data)
        for name in ("write_request", "write_data"):
            wiring.connect(m, getattr(output_writer, name), wiring.flipped(getattr(memory, name)))
        wiring.connect(m, wiring.flipped(memory.write_done), output_writer.write_done)
        wiring.connect(m, input_loader.write, load.i)
        wiring.connect(m, load.o, engine.load)
        wiring.connect(m, engine.word, word.i)
        wiring.connect(m, word.o, output_writer.i)
        for name in ("program_write", "parameter_write"):
            wiring.connect(m, getattr(program_loader, name), getattr(engine, name))
        m.d.comb += arbiter.drain.eq(control.halt)
        for client in (*readers, output_writer):
            m.d.comb += client.halt.eq(control.halt)
        for client in (input_loader, output_writer):
            m.d.comb += client.header.eq(header)

        # Commands.
        wiring.connect(m, wiring.flipped(self.registers), control.bus)
        m.d.comb += [
            self.interrupt.eq(control.interrupt),
            program_loader.start.eq(control.load),
            program_loader.address.eq(control.program),
            control.load_done.eq(program_loader.done),
            control.load_code.eq(program_loader.code),
            control.run_done.eq(sequencer.run_done),
            control.bus_error.eq(input_loader.error | output_writer.error),
            control.layer.eq(sequencer.layer),
            control.image.eq(sequencer.image),
            sequencer.run.eq(control.run),
            sequencer.layers.eq(header.layers),
        ]
        # Known a cycle late: in a halt, which is longer, it falls once and for all.
        m.d.sync += control.outstanding.eq(arbiter.outstanding | output_writer.busy)
        for name in ("program", "input", "input_stride", "output", "output_stride", "images"):
            m.d.comb += getattr(sequencer, name).eq(getattr(control, name))

        # Layers.
        m.d.comb += [
            engine.gating.eq(control.gating),
            engine.fetch.eq(sequencer.fetch),
            engine.fetch_index.eq(sequencer.fetch_index),
            engine.swap.eq(sequencer.swap),
            sequencer.next.eq(engine.next),
            sequencer.described.eq(engine.described),
            sequencer.ready.eq(engine.ready),
            sequencer.engine_done.eq(engine.done),
            input_loader.start.eq(sequencer.input_start),
            input_loader.address.eq(sequencer.input_address),
            sequencer.input_busy.eq(input_loader.busy | load.o.valid),
            output_writer.start.eq(sequencer.output_start),
            output_writer.address.eq(sequencer.output_address),
            sequencer.output_busy.eq(output_writer.busy),
        ]
        if cfg.weights == "streamed":
            wiring.connect(m, weight_loader.weight_write, engine.weight_write)
            m.d.comb += [
                weight_loader.start.eq(sequencer.weight_start),
                weight_loader.address.eq(sequencer.weight_address),
                weight_loader.words.eq(engine.next.weight_words),
                weight_loader.destination.eq(engine.next.weight_address),
                sequencer.weight_busy.eq(weight_loader.busy),
            ]
            with m.If(weight_loader.error):
                m.d.comb += control.bus_error.eq(1)
        else:
            wiring.connect(m, program_loader.weight_write, engine.weight_write)
        self._events(m)
        return m

    def _events(self, m: Module):
        """What the counters count; every running cycle has a step or one cause why not."""
        control, events, stall = self.control, self.engine.events, self.sequencer.stall
        stepping = Signal()
        m.d.comb += [
            stepping.eq(events.base_step | events.conditional_step),
            control.events.base_steps.eq(events.base_step),
            control.events.conditional_steps.eq(events.conditional_step),
            control.events.outputs.eq(events.outputs),
            control.events.tasks.eq(events.tasks),
            control.events.stall_queue.eq(events.stall.queue),
            control.events.stall_write.eq(events.stall.write),
            control.events.stall_pool.eq(events.stall.pool),
            control.events.stall_drain.eq(stall.drain & ~stepping & ~events.stall.as_value().any()),
            control.events.stall_weights.eq(stall.weights),
            control.events.stall_input.eq(stall.input),
            control.events.stall_output.eq(stall.output),
        ]
        read_data, write_data = self.memory.read_data, self.memory.write_data
        m.d.sync += control.progress.eq(
            stepping
            | (read_data.valid & read_data.ready)
            | (write_data.valid & write_data.ready)
            | self.engine.load.valid
        )
