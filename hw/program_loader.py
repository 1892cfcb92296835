"""Reads a program from memory, checks it whole, and fills the on-chip memories with it."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

from penstock.config import MEMORY_BITS, Config
from penstock.hw.layouts import ram_write_signature, read_data_layout, record_layout, request_layout
from penstock.hw.memory import BurstGenerator, times
from penstock.hw.pipeline import delay, own_register
from penstock.hw.weight_loader import WeightAssembler
from penstock.program import DESCRIPTOR, HEADER, MAGIC, PARAMETER, VERSION, WORD_BYTES
from penstock.registers import Code

ADDRESS_BITS = 16
LENGTH_BITS = 24
"""A program has fewer than 2**24 words (128 MiB); a longer one is BAD_LENGTH."""

CRC_FROM = 3
"""First word under the CRC."""

SUM_CYCLES = 5
"""From the header's last word to its code: its register, products, their sum, each rule, the first
one broken.
"""

HEADER_WORDS = len(HEADER.words)
PARAMETER_WORDS = len(PARAMETER.words)


class _Phase(enum.Enum, shape=3):
    IDLE = 0
    HEADER = 1  # its words arrive
    SUM = 2  # lengths of the sections are added up, SUM_CYCLES long
    CHECK = 3
    BODY = 4  # the sections behind the header arrive
    CRC = 5


class ProgramLoader(wiring.Component):
    """Reads the program at byte ``address``, checks it, and writes its sections into the chip.

    Behind the header it checks, in this order, magic, version, configuration hash and lengths, and
    reads no further where one is wrong; the CRC-32 is known when everything has been read and
    written. Streamed weights are read for the CRC and not written.

    One beat per cycle; writes follow their last beat by one cycle; data are always accepted.
    ``address`` must hold until ``done``, which is high for one cycle with ``code``; ``header``
    holds from then to the next ``start``. A beat that fails ends the load at once with BUS_ERROR,
    while others are still under way: ``halt`` must follow. It stops the loader at any time, then
    without ``done``.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "start": In(1),
                "address": In(32),
                "halt": In(1),
                "done": Out(1),
                "code": Out(Code),
                "header": Out(record_layout(HEADER)),
                "request": Out(stream.Signature(request_layout())),
                "data": In(stream.Signature(read_data_layout())),
                "program_write": Out(ram_write_signature(ADDRESS_BITS, MEMORY_BITS)),
                "parameter_write": Out(
                    ram_write_signature(ADDRESS_BITS, MEMORY_BITS * PARAMETER_WORDS)
                ),
                "weight_write": Out(ram_write_signature(ADDRESS_BITS, 8 * cfg.lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = BurstGenerator(LENGTH_BITS)
        m.submodules.crc = crc = catalog.CRC32_ISO_HDLC(MEMORY_BITS).create()
        phase = Signal(_Phase)
        left = Signal(LENGTH_BITS)  # words still to come
        summed = Signal(range(SUM_CYCLES))  # cycles of SUM that are over
        idle = Signal(init=1)  # in the last cycle
        summing, last_summed = Signal(), Signal()  # a cycle before the CRC's sum has the beat
        beat = stream.Signature(read_data_layout(), always_ready=True).create()
        header = Signal(record_layout(HEADER), reset_less=True)
        late_data = own_register(m, beat.p.data, name="late_data")

        m.d.comb += [
            self.header.eq(header),
            self.request.valid.eq(reader.request.valid),
            self.request.payload.eq(reader.request.payload),
            reader.request.ready.eq(self.request.ready),
            self.data.ready.eq(1),
            reader.halt.eq(self.halt),
            crc.data.eq(late_data),
            crc.valid.eq(delay(m, summing, 1, name="crc_valid", control=True)),
            crc.start.eq(own_register(m, idle, name="crc_start")),
        ]
        m.d.sync += idle.eq(phase == _Phase.IDLE)
        m.d.sync += last_summed.eq(phase == _Phase.CRC)
        m.d.sync += beat.valid.eq(self.data.valid)
        m.d.sync += beat.payload.eq(self.data.payload)
        m.d.sync += self.done.eq(0)
        # A word of the header a cycle after its beat, each with an enable of its own.
        for index in range(HEADER_WORDS):
            arrives = (phase == _Phase.HEADER) & beat.valid & (left == HEADER_WORDS - index)
            lands = delay(m, arrives, 1, name=f"header_{index}", control=True)
            with m.If(lands):
                m.d.sync += header.as_value()[MEMORY_BITS * index :][:MEMORY_BITS].eq(late_data)
        verdict = self._verdict(m)
        self._sections(m, beat, in_body=phase == _Phase.BODY)

        def finish(code):
            return [phase.eq(_Phase.IDLE), self.done.eq(1), self.code.eq(code)]

        with m.Switch(phase):
            with m.Case(_Phase.IDLE):
                m.d.comb += reader.start.eq(self.start)
                m.d.comb += reader.address.eq(self.address)
                m.d.comb += reader.beats.eq(HEADER_WORDS)
                with m.If(self.start):
                    m.d.sync += left.eq(HEADER_WORDS)
                    m.d.sync += phase.eq(_Phase.HEADER)
            with m.Case(_Phase.HEADER), m.If(beat.valid):
                m.d.comb += summing.eq(left <= HEADER_WORDS - CRC_FROM)
                m.d.sync += left.eq(left - 1)
                m.d.sync += summed.eq(0)
                with m.If(left == 1):
                    m.d.sync += phase.eq(_Phase.SUM)
            with m.Case(_Phase.SUM):
                m.d.sync += summed.eq(summed + 1)
                with m.If(summed == SUM_CYCLES - 1):
                    m.d.sync += phase.eq(_Phase.CHECK)
            with m.Case(_Phase.CHECK):
                m.d.comb += reader.start.eq(verdict == Code.OK)
                m.d.comb += reader.address.eq(self.address + HEADER_WORDS * WORD_BYTES)
                m.d.comb += reader.beats.eq(header.length - HEADER_WORDS)
                m.d.sync += left.eq(header.length - HEADER_WORDS)
                m.d.sync += phase.eq(_Phase.BODY)
                with m.If(verdict != Code.OK):
                    m.d.sync += finish(verdict)
            with m.Case(_Phase.BODY):
                m.d.comb += summing.eq(beat.valid)
                with m.If(beat.valid):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.d.sync += phase.eq(_Phase.CRC)
            with m.Case(_Phase.CRC), m.If(last_summed):
                m.d.sync += finish(Mux(crc.crc == header.crc, Code.OK, Code.BAD_CRC))
        with m.If((phase != _Phase.IDLE) & beat.valid & beat.p.error):
            m.d.sync += finish(Code.BUS_ERROR)
        with m.If(self.halt):
            m.d.sync += phase.eq(_Phase.IDLE)
            m.d.sync += self.done.eq(0)
        return m

    def _verdict(self, m):
        """Code of the header, SUM_CYCLES + 1 cycles after its last word."""
        cfg, header = self.cfg, self.header
        descriptors = times(header.layers, len(DESCRIPTOR.words))
        parameters_end = (
            HEADER_WORDS + header.program_words + times(header.parameters, PARAMETER_WORDS)
        )
        descriptor_words = Signal(len(descriptors))
        weight_offset = Signal(len(parameters_end))
        weight_length = Signal(len(times(header.weight_words, cfg.weight_beats)))
        length = Signal(max(len(weight_offset), len(weight_length)) + 1)
        m.d.sync += descriptor_words.eq(descriptors)
        m.d.sync += weight_offset.eq(parameters_end)
        m.d.sync += weight_length.eq(times(header.weight_words, cfg.weight_beats))
        m.d.sync += length.eq(weight_offset + weight_length)
        fits = (
            (header.layers != 0)
            & (descriptor_words <= header.program_words)
            & (header.program_words <= cfg.program_words)
            & (header.parameters <= cfg.channels)
            & (header.weight_offset == weight_offset)
            & (header.length == length)
            & (header.length >> LENGTH_BITS == 0)
        )
        if cfg.weights == "resident":
            fits &= header.weight_words <= cfg.weight_words

        verdict = Signal(Code)
        m.d.sync += verdict.eq(Code.OK)
        for rule, code in (
            (header.magic == MAGIC, Code.BAD_MAGIC),
            (header.version == VERSION, Code.BAD_VERSION),
            (header.config == cfg.hash, Code.BAD_CONFIG),
            (fits, Code.BAD_LENGTH),
        )[::-1]:
            kept = Signal(name=f"no_{code.name.lower()}")
            m.d.sync += kept.eq(rule)
            with m.If(~kept):
                m.d.sync += verdict.eq(code)
        return verdict

    def _sections(self, m, beat, in_body):
        """Write each beat of the body to the memory of its section."""
        header = self.header
        program_left = Signal.like(header.program_words)
        parameters_left = Signal.like(header.parameters)
        in_program, in_parameters = Signal(), Signal()  # words of the section are left
        words = Signal(range(PARAMETER_WORDS))  # of the open parameter record
        held = Signal(MEMORY_BITS * (PARAMETER_WORDS - 1), reset_less=True)
        m.d.comb += self.program_write.data.eq(beat.p.data)
        m.d.comb += self.parameter_write.data.eq(Cat(held, beat.p.data))

        with m.If(~in_body):
            m.d.sync += program_left.eq(header.program_words)
            m.d.sync += parameters_left.eq(header.parameters)
            m.d.sync += in_program.eq(header.program_words != 0)
            m.d.sync += in_parameters.eq(header.parameters != 0)
            m.d.sync += words.eq(0)
            m.d.sync += self.program_write.address.eq(0)
            m.d.sync += self.parameter_write.address.eq(0)
        with m.If(beat.valid):
            m.d.sync += held.eq(beat.p.data)  # of whatever section
        with m.If(in_body & beat.valid):
            with m.If(in_program):
                m.d.comb += self.program_write.enable.eq(1)
                m.d.sync += self.program_write.address.eq(self.program_write.address + 1)
                m.d.sync += program_left.eq(program_left - 1)
                m.d.sync += in_program.eq(program_left != 1)
            with m.Elif(in_parameters):
                m.d.sync += words.eq(words + 1)
                with m.If(words == PARAMETER_WORDS - 1):
                    m.d.sync += words.eq(0)
                    m.d.comb += self.parameter_write.enable.eq(1)
                    m.d.sync += self.parameter_write.address.eq(self.parameter_write.address + 1)
                    m.d.sync += parameters_left.eq(parameters_left - 1)
                    m.d.sync += in_parameters.eq(parameters_left != 1)
        if self.cfg.weights == "resident":
            weights = in_body & ~in_program & ~in_parameters
            self._resident_weights(m, beat, in_body, weights)

    def _resident_weights(self, m, beat, in_body, weights):
        m.submodules.assembler = assembler = WeightAssembler(self.cfg)
        m.d.comb += [
            assembler.start.eq(~in_body),
            # Hundreds of registers are loaded with it.
            assembler.i.valid.eq(own_register(m, self.data.valid, name="assembler_valid")),
            assembler.skip.eq(~weights),
            assembler.i.payload.eq(beat.p.data),
            self.weight_write.enable.eq(assembler.write.enable),
            self.weight_write.address.eq(assembler.write.address),
            self.weight_write.data.eq(assembler.write.data),
        ]
