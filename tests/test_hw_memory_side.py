"""The loaders, the output writer and control, wired to one memory as in the core."""

import dataclasses

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config, preset
from penstock.hw.control import Control, events_layout
from penstock.hw.input_loader import InputLoader
from penstock.hw.layouts import (
    bank_word_layout,
    memory_signature,
    ram_write_signature,
    record_layout,
    register_signature,
)
from penstock.hw.memory import ReadArbiter
from penstock.hw.output_writer import OutputWriter, raw_result_layout
from penstock.hw.program_loader import ProgramLoader
from penstock.hw.weight_loader import WeightLoader
from penstock.program import HEADER
from penstock.sim.runner import build_component, run

TINY = preset("tiny")
CONFIGS = {
    "resident-2": TINY,
    "streamed-8": dataclasses.replace(TINY, word=8, weights="streamed"),
    "streamed-1": dataclasses.replace(TINY, word=1, weights="streamed"),
    "resident-16": dataclasses.replace(TINY, word=16),
}
TESTS = 14


class MemorySide(wiring.Component):
    """The core without its engine and sequencer, whose part the bench plays."""

    def __init__(self, cfg: Config):
        self.cfg = cfg
        weight_write = Out(ram_write_signature(16, 8 * cfg.lanes))
        super().__init__(
            {
                "registers": In(register_signature()),
                "memory": Out(memory_signature()),
                "interrupt": Out(1),
                "run": Out(1),
                "run_done": In(1),
                "halt": Out(1),
                "bus_error": In(1),
                "progress": In(1),
                "events": In(events_layout(cfg)),
                "layer": In(16),
                "image": In(32),
                "input": Out(32),
                "input_stride": Out(32),
                "output": Out(32),
                "output_stride": Out(32),
                "images": Out(32),
                "gating": Out(1),
                "header": Out(record_layout(HEADER)),
                "program_write": Out(ram_write_signature(16, 64)),
                "parameter_write": Out(ram_write_signature(16, 128)),
                "resident_write": weight_write,
                "streamed_write": weight_write,
                "weights_start": In(1),
                "weights_address": In(32),
                "weights_words": In(20),
                "weights_destination": In(16),
                "weights_busy": Out(1),
                "image_start": In(1),
                "image_address": In(32),
                "image_busy": Out(1),
                "image_write": Out(stream.Signature(bank_word_layout(cfg))),
                "output_start": In(1),
                "output_address": In(32),
                "output_busy": Out(1),
                "results": In(stream.Signature(raw_result_layout())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.control = control = Control(self.cfg)
        m.submodules.arbiter = arbiter = ReadArbiter(3)
        m.submodules.program = program = ProgramLoader(self.cfg)
        m.submodules.weights = weights = WeightLoader(self.cfg)
        m.submodules.image = image = InputLoader(self.cfg)
        m.submodules.output = output = OutputWriter()
        for client, loader in enumerate((program, weights, image)):
            wiring.connect(m, loader.request, arbiter.request[client])
            wiring.connect(m, arbiter.data[client], loader.data)
            m.d.comb += loader.halt.eq(control.halt)
        self._connect_memory(m, arbiter, output)
        self._connect_control(m, control, program)
        m.d.comb += [
            arbiter.drain.eq(control.halt),
            output.halt.eq(control.halt),
            control.outstanding.eq(arbiter.outstanding | output.busy),
            control.bus_error.eq(weights.error | image.error | output.error | self.bus_error),
            self.header.eq(program.header),
            image.header.eq(program.header),
            output.header.eq(program.header),
            weights.start.eq(self.weights_start),
            weights.address.eq(self.weights_address),
            weights.words.eq(self.weights_words),
            weights.destination.eq(self.weights_destination),
            self.weights_busy.eq(weights.busy),
            image.start.eq(self.image_start),
            image.address.eq(self.image_address),
            self.image_busy.eq(image.busy),
            output.start.eq(self.output_start),
            output.address.eq(self.output_address),
            self.output_busy.eq(output.busy),
        ]
        wiring.connect(m, program.program_write, wiring.flipped(self.program_write))
        wiring.connect(m, program.parameter_write, wiring.flipped(self.parameter_write))
        wiring.connect(m, program.weight_write, wiring.flipped(self.resident_write))
        wiring.connect(m, weights.weight_write, wiring.flipped(self.streamed_write))
        wiring.connect(m, image.write, wiring.flipped(self.image_write))
        wiring.connect(m, wiring.flipped(self.results), output.i)
        return m

    def _connect_memory(self, m, arbiter, output):
        memory = wiring.flipped(self.memory)
        wiring.connect(m, arbiter.read_request, memory.read_request)
        wiring.connect(m, memory.read_data, arbiter.read_data)
        wiring.connect(m, output.write_request, memory.write_request)
        wiring.connect(m, output.write_data, memory.write_data)
        wiring.connect(m, memory.write_done, output.write_done)

    def _connect_control(self, m, control, program):
        wiring.connect(m, wiring.flipped(self.registers), control.bus)
        read, written = self.memory.read_data, self.memory.write_data
        m.d.comb += [
            program.start.eq(control.load),
            program.address.eq(control.program),
            control.load_done.eq(program.done),
            control.load_code.eq(program.code),
            control.progress.eq(
                self.progress | (read.valid & read.ready) | (written.valid & written.ready)
            ),
        ]
        for name in ("run_done", "events", "layer", "image"):
            m.d.comb += getattr(control, name).eq(getattr(self, name))
        for name in ("interrupt", "run", "halt", "images", "gating"):
            m.d.comb += getattr(self, name).eq(getattr(control, name))
        for name in ("input", "input_stride", "output", "output_stride"):
            m.d.comb += getattr(self, name).eq(getattr(control, name))


@pytest.mark.parametrize("name", CONFIGS)
def test_memory_side(name):
    cfg = CONFIGS[name]
    build = build_component(MemorySide(cfg))
    for seed, (stalls, latency) in enumerate(((0.0, 32), (0.4, 5))):
        parameters = {"config": dataclasses.asdict(cfg), "stalls": stalls, "latency": latency}
        run(build, "penstock.sim.tb_memory_side", parameters, tests=TESTS, seed=seed)


@pytest.mark.parametrize("stalls", [0.0, 0.5])
def test_read_arbiter(stalls):
    build = build_component(ReadArbiter(3))
    run(build, "penstock.sim.tb_read_arbiter", {"stalls": stalls}, tests=3)
