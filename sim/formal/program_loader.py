"""The program loader asks for its program alone, refuses what does not fit, and writes the rest."""

import dataclasses
import functools
from unittest import mock

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from penstock.config import BURST_BEATS, MEMORY_BITS, Config, preset
from penstock.hw import program_loader as program_loader_module
from penstock.hw.layouts import read_data_layout
from penstock.hw.memory import times
from penstock.hw.pipeline import delay
from penstock.hw.program_loader import CRC_FROM, LENGTH_BITS, SUM_CYCLES, ProgramLoader
from penstock.program import DESCRIPTOR, HEADER, MAGIC, PARAMETER, VERSION
from penstock.registers import Code
from penstock.sim.formal.inside import Inside
from penstock.sim.formal.prover import Proof
from penstock.sim.formal.rules import cycles, hold_stream, moves, tally, unasked

HEADER_WORDS = len(HEADER.words)
PARAMETER_WORDS = len(PARAMETER.words)
COUNT = LENGTH_BITS + 1  # bits of the checks' counters

LONGEST_WAIT = SUM_CYCLES + 2
"""Cycles in which a load may neither await the memory nor take a word."""


class FreeSum(wiring.Component):
    """The ports of the CRC with nothing behind them: the proof gives its value."""

    def __init__(self, data_bits: int):
        super().__init__({"start": In(1), "valid": In(1), "data": In(data_bits), "crc": In(32)})

    def create(self):
        return self

    def elaborate(self, platform):
        return Module()


class Loads(wiring.Component):
    """What a load asks for, and what it ends with.

    The loader has a free start while it is idle, a memory that answers what it was asked, and a
    free halt; so load follows load. Of the header's words the chosen one is followed. ``sum`` is
    what the CRC gives.
    """

    lemma = staticmethod(Assert)

    def __init__(self, cfg: Config):
        self.cfg = cfg
        self.block = ProgramLoader(cfg)
        names = ("address", "halt", "request", "data")
        ports = {name: self.block.signature.members[name] for name in names}
        super().__init__({**ports, "begin": In(1), "sum": In(32)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = block = self.block
        with mock.patch.object(program_loader_module.catalog, "CRC32_ISO_HDLC", FreeSum):
            inside = Inside(block)
        m.d.comb += inside["crc"].crc.eq(self.sum)
        wiring.connect(m, block.request, wiring.flipped(self.request))
        wiring.connect(m, wiring.flipped(self.data), block.data)
        # A load goes on from its start to its end or a halt; behind a bus error must be a halt
        # (Control), before it beats may come that nobody awaits.
        self.start, self.loading, self.broken = Signal(), Signal(), Signal()
        self.engaged = Signal()  # there was a start and no halt since
        m.d.comb += [
            self.start.eq(self.begin & ~self.loading & ~self.broken),
            block.start.eq(self.start),
            block.address.eq(self.address),
            block.halt.eq(self.halt),
        ]
        with m.If(self.start):
            m.d.sync += self.engaged.eq(1)
        with m.If(self.halt):
            m.d.sync += self.engaged.eq(0)
        before = Signal.like(self.address)
        m.d.sync += before.eq(self.address)
        m.d.comb += Assume(~self.loading | (self.address == before))  # Control
        self._stages(m, inside)
        self._requests(m)
        self._induction(m, inside)
        self._sections(m, inside)
        return m

    def _count(self, m: Module, name: str, bits: int, up):
        """The sum of ``up`` in this load, as long as no halt ends it."""
        return tally(m, name, bits, up, cleared=self.start | self.halt)

    def _behind(self, m: Module, name: str, event):
        """The cycle behind an event, unless that was one of a halt."""
        behind = Signal(name=name)
        m.d.sync += behind.eq(event & ~self.halt)
        return behind

    def _verdict(self):
        """(what its header must be, the code where it is not), in order."""
        cfg, header = self.cfg, self.block.header
        offset = HEADER_WORDS + header.program_words + PARAMETER_WORDS * header.parameters
        length = offset + times(header.weight_words, cfg.weight_beats)
        fits = (
            header.layers.any()
            & (times(header.layers, len(DESCRIPTOR.words)) <= header.program_words)
            & (header.program_words <= cfg.program_words)
            & (header.parameters <= cfg.channels)
            & (header.weight_offset == offset)
            & (header.length == length)
            & (header.length < 1 << LENGTH_BITS)
        )
        if cfg.weights == "resident":
            fits &= header.weight_words <= cfg.weight_words
        return (
            (header.magic == MAGIC, Code.BAD_MAGIC),
            (header.version == VERSION, Code.BAD_VERSION),
            (header.config == cfg.hash, Code.BAD_CONFIG),
            (fits, Code.BAD_LENGTH),
        )

    def _stages(self, m: Module, inside: Inside):
        """Header, some cycles for its check, body, two for the CRC; or a word that fails."""
        block, header, crc = self.block, self.block.header, inside["crc"]
        # A word is worked on in the cycle behind its beat.
        self.came = self._count(m, "came", COUNT, moves(block.data))
        self.arrived, self.word = arrived, word = Signal(), Signal(read_data_layout())
        m.d.sync += [arrived.eq(moves(block.data)), word.eq(block.data.payload)]
        self.takes = takes = Signal()
        m.d.comb += takes.eq(self.loading & arrived)
        self.seen = seen = self._count(m, "seen", COUNT, takes)
        good = takes & ~word.error
        step, steps = good & (seen == HEADER_WORDS - 1), []
        for number in range(SUM_CYCLES):
            step = self._behind(m, f"summing_{number}", step)
            steps.append(step)
        self.summing_steps, self.summing = steps, Cat(steps).any()
        self.checking = self._behind(m, "checking", step)
        self.checked, self.legal, verdict = Signal(), Signal(), Signal(Code)
        rules = self._verdict()
        m.d.comb += self.legal.eq(Cat(rule for rule, _ in rules).all())
        for rule, code in reversed(rules):
            with m.If(~rule):
                m.d.comb += verdict.eq(code)
        with m.If(self.checking & self.legal):
            m.d.sync += self.checked.eq(1)
        with m.If(self.start | self.halt):
            m.d.sync += self.checked.eq(0)
        m.d.comb += self.lemma(~self.checked | self.legal)
        last = good & self.checked & (seen + 1 == header.length)
        self.last_sum = self._behind(m, "last_sum", last)
        self.closing = self._behind(m, "closing", self.last_sum)

        ends, code = Signal(), Signal(Code)
        m.d.comb += ends.eq(takes & word.error | self.checking & ~self.legal | self.closing)
        with m.If(takes & word.error):
            m.d.sync += [code.eq(Code.BUS_ERROR), self.broken.eq(1)]
        with m.Elif(self.closing):
            m.d.sync += code.eq(Mux(crc.crc == header.crc, Code.OK, Code.BAD_CRC))
        with m.Else():
            m.d.sync += code.eq(verdict)
        with m.If(ends):
            m.d.sync += self.loading.eq(0)
        with m.If(self.start):
            m.d.sync += self.loading.eq(1)
        with m.If(self.halt):
            m.d.sync += [self.loading.eq(0), self.broken.eq(0)]
        m.d.comb += self.lemma(block.done == self._behind(m, "ended", ends))
        with m.If(block.done):
            m.d.comb += self.lemma(block.code == code)
        # The sum is over all words from CRC_FROM on.
        summed, data = (
            delay(m, value, 1, name=name, control=True)
            for value, name in ((takes & (seen >= CRC_FROM), "summed"), (word.data, "summed_data"))
        )
        m.d.comb += self.lemma(crc.valid == summed)
        m.d.comb += self.lemma(~crc.valid | (crc.data == data) & ~crc.start)
        was_loading = delay(m, self.loading, 2, name="was_loading", control=True)
        m.d.comb += self.lemma(crc.start == ~was_loading)

        # The chosen word of the header.
        chosen, content = AnyConst(range(HEADER_WORDS)), Signal(MEMORY_BITS)
        with m.If(takes & (seen == chosen)):
            m.d.sync += content.eq(word.data)
        landing = self._behind(m, "landing", takes & (seen == chosen))
        with m.If(self.engaged & (seen > chosen)):
            found = header.as_value().word_select(chosen, MEMORY_BITS)
            m.d.comb += self.lemma(Mux(landing, data, found) == content)
        # Each lands in the cycle behind its own, of this load's alone.
        for number, lands in enumerate(inside.every("lands")):
            took = delay(m, takes & (seen == number), 1, name=f"took_{number}", control=True)
            last = number == HEADER_WORDS - 1
            m.d.comb += [
                self.lemma(lands == took),
                self.lemma(~lands | (inside["late_data"] == data)),
                self.lemma(~lands | ~self.loading | (seen == number + 1)),
                self.lemma(~lands | ~self.loading | (steps[0] if last else seen < HEADER_WORDS)),
            ]

    def _requests(self, m: Module):
        """Of the header; then, where it is legal, of the words behind it up to its length."""
        block, request, beat = self.block, self.block.request, self.block.data
        self.asked = self._count(m, "asked", COUNT, Mux(moves(request), request.p.beats, 0))
        base, self.place, self.goal = Signal(29), Signal(29), Signal(COUNT)
        with m.If(self.start):
            m.d.sync += base.eq(self.address[3:])
        m.d.comb += self.place.eq(base + self.asked)
        with m.If(self.engaged):
            m.d.comb += self.goal.eq(Mux(self.checked, block.header.length, HEADER_WORDS))
        hold_stream(m, "request", request, self.lemma, unless=self.halt, in_row=False)
        with m.If(request.valid):
            m.d.comb += [
                self.lemma(request.p.address == self.place << 3),
                self.lemma(self.asked + request.p.beats <= self.goal),
                self.lemma(request.p.beats.any() & (request.p.beats <= BURST_BEATS)),
                self.lemma(self.place % BURST_BEATS + request.p.beats <= BURST_BEATS),
            ]
        # The read arbiter: beats that were asked for, none during a halt, and none behind one.
        m.d.comb += Assume(~beat.valid | ((self.came < self.asked) & ~self.halt))
        m.d.comb += self.lemma(block.data.ready)
        with m.If(~self.loading & ~self.broken):  # nothing is left to come
            m.d.comb += self.lemma((self.asked == self.came) & ~request.valid & ~self.arrived)
        m.d.comb += Cover(moves(request) & self.checked & (self.asked == HEADER_WORDS))

    def _induction(self, m: Module, inside: Inside):
        """The loader's phase, and where the words are that were not yet taken."""
        header, request = self.block.header, self.block.request
        reader, phase = inside.block("reader"), inside["phase"].as_value()
        remaining, position = unasked(reader)
        in_header = self.loading & (self.seen < HEADER_WORDS)
        in_body = self.loading & self.checked & (self.seen < header.length)
        late = cycles(
            m,
            "late",
            self.loading & ~self.arrived & (self.came == self.asked) & ~request.valid,
            LONGEST_WAIT,
        )
        m.d.comb += self.lemma(late <= LONGEST_WAIT)
        in_crc = self.last_sum | self.closing
        stages = (~self.loading, in_header, self.summing, self.checking, in_body, in_crc)
        m.d.comb += self.lemma(~in_crc | (inside["last_summed"] == self.closing))
        for number, stage in enumerate(stages):
            m.d.comb += self.lemma((phase == number) == stage)
        for number, step in enumerate(self.summing_steps):
            m.d.comb += self.lemma(~step | (inside["summed"] == number))
            with m.If(step & ~request.valid):
                m.d.comb += self.lemma(late <= number)
        for number, longest in ((1, 0), (3, SUM_CYCLES), (4, SUM_CYCLES + 1), (5, 1)):
            with m.If((phase == number) & ~request.valid):
                m.d.comb += self.lemma(late <= longest)
        self._lengths(m, inside)
        beat = inside["beat"]
        m.d.comb += [
            self.lemma(phase < len(stages)),
            self.lemma(~(self.loading & self.broken)),
            self.lemma(
                ~(self.summing | self.checking) | (self.seen == HEADER_WORDS) & ~self.checked
            ),
            self.lemma(~in_crc | (self.seen == header.length) & self.checked),
            self.lemma(~self.last_sum | (late == 0) | request.valid),
            self.lemma(self.loading | ~(self.summing | self.checking | in_crc)),
            self.lemma(self.engaged | ~(self.loading | self.broken | self.checked)),
            self.lemma(beat.valid == self.arrived),
            self.lemma(~self.arrived | (Cat(beat.p.data, beat.p.error) == self.word.as_value())),
            self.lemma(remaining == self.goal - self.asked),
            self.lemma(~self.engaged | (position == self.place)),
            self.lemma(~reader["fresh"] | reader.component.request.valid),
            self.lemma((self.came <= self.asked) & (self.asked <= self.goal)),
            self.lemma(~self.checked | (self.seen >= HEADER_WORDS)),
            self.lemma(self.came >= self.seen + (self.arrived & self.loading)),
        ]
        with m.If(self.loading):
            m.d.comb += self.lemma(self.came == self.seen + self.arrived)
            m.d.comb += self.lemma(
                ~(in_header | in_body) | (inside["left"] == self.goal - self.seen)
            )
            m.d.comb += self.lemma((self.address >> 3) == (self.place - self.asked)[:29])
            with m.If(~self.checked):
                m.d.comb += self.lemma(self.seen <= HEADER_WORDS)

    def _lengths(self, m: Module, inside: Inside):
        """What the check adds up, stage by stage."""
        header = self.block.header
        offset = HEADER_WORDS + header.program_words + PARAMETER_WORDS * header.parameters
        weights = times(header.weight_words, self.cfg.weight_beats)
        with m.If(self.checking | Cat(self.summing_steps[2:]).any()):
            m.d.comb += [
                self.lemma(
                    inside["descriptor_words"] == times(header.layers, len(DESCRIPTOR.words))
                ),
                self.lemma(inside["weight_offset"] == offset),
                self.lemma(inside["weight_length"] == weights),
            ]
        with m.If(self.checking | Cat(self.summing_steps[3:]).any()):
            m.d.comb += self.lemma(inside["length"] == offset + weights)

    def _sections(self, m: Module, inside: Inside):
        """See Sections, which covers a whole load, too."""
        done, code = self.block.done, self.block.code
        ends = (Code.BUS_ERROR, Code.BAD_LENGTH)
        m.d.comb += [Cover(done & (code == each)) for each in ends]


class Sections(Loads):
    """What a load writes, and where.

    That its requests and stages are as they should be, `Loads` proves without this.
    """

    lemma = staticmethod(Assume)

    def _sections(self, m: Module, inside: Inside):
        """The body's words: program, parameter records, weights; each written to the next place."""
        cfg, block, header, word = self.cfg, self.block, self.block.header, self.word
        resident = cfg.weights == "resident"
        takes = self.takes & self.checked
        in_program, in_parameters, in_weights = Signal(), Signal(), Signal()
        self.program, self.records, self.weights = Signal(17), Signal(17), Signal(COUNT)
        self.part = Signal(range(max(PARAMETER_WORDS, cfg.weight_beats)))  # of record or weight
        before = Signal(MEMORY_BITS * max(PARAMETER_WORDS, cfg.weight_beats))  # the newest highest
        m.d.comb += [
            in_program.eq(self.program < header.program_words),
            in_parameters.eq(~in_program & (self.records < header.parameters)),
            in_weights.eq(~in_program & ~in_parameters),
        ]
        record_ends = in_parameters & (self.part == PARAMETER_WORDS - 1)
        weight_ends = in_weights & (self.part == cfg.weight_beats - 1)
        with m.If(takes):
            m.d.sync += [
                before.eq(Cat(before[MEMORY_BITS:], word.data)),
                self.program.eq(self.program + in_program),
                self.records.eq(self.records + record_ends),
                self.weights.eq(self.weights + weight_ends),
                self.part.eq(
                    Mux(in_program | record_ends | weight_ends, 0, self.part + 1),
                ),
            ]
        with m.If(~self.checked):
            counts = (self.program, self.records, self.weights, self.part)
            m.d.sync += [count.eq(0) for count in counts]

        newest = Cat(before, word.data)
        written = [
            (block.program_write, in_program, self.program, 1, cfg.program_words),
            (block.parameter_write, record_ends, self.records, PARAMETER_WORDS, cfg.channels),
        ]
        if resident:
            weights = (weight_ends, self.weights, cfg.weight_beats, cfg.weight_words)
            written.append((block.weight_write, *weights))
        else:
            m.d.comb += Assert(~block.weight_write.enable)
        for write, due, place, words, places in written:
            m.d.comb += Assert(write.enable == (takes & due))
            with m.If(write.enable):
                data = newest[-MEMORY_BITS * words :][: len(write.data)]
                m.d.comb += Assert((write.address == place) & (place < places))
                m.d.comb += Assert(write.data == data)
            m.d.comb += Cover(write.enable)
        whole = (self.program == header.program_words) & (self.records == header.parameters)
        whole &= (self.weights == header.weight_words) & ~self.part.any()
        with m.If(block.done & ((block.code == Code.OK) | (block.code == Code.BAD_CRC))):
            m.d.comb += [Assert(whole & self.checked), Cover(block.code == Code.OK)]
        self._sections_induction(m, inside, before)

    def _sections_induction(self, m: Module, inside: Inside, before):
        """Where the sections' counters are while the body comes."""
        cfg, block, header = self.cfg, self.block, self.block.header
        words = HEADER_WORDS + self.program + PARAMETER_WORDS * self.records
        words += times(self.weights, cfg.weight_beats) + self.part
        history = [
            before.word_select(len(before) // MEMORY_BITS - 1 - i, MEMORY_BITS)
            for i in range(len(before) // MEMORY_BITS)
        ]
        with m.If(self.checked):
            m.d.comb += [
                Assert(self.seen == words),
                Assert(self.program <= header.program_words),
                Assert(self.records <= header.parameters),
                Assert(self.weights <= header.weight_words),
            ]
            with m.If(self.program < header.program_words):
                m.d.comb += Assert(~self.records.any() & ~self.weights.any() & ~self.part.any())
            with m.Elif(self.records < header.parameters):
                m.d.comb += Assert(~self.weights.any() & (self.part < PARAMETER_WORDS))
            with m.Else():
                m.d.comb += Assert(self.part < cfg.weight_beats)
                m.d.comb += Assert(~self.part.any() | (self.weights < header.weight_words))
        with m.If(self.loading & self.checked & ~self.closing):
            m.d.comb += [
                Assert(inside["in_program"] == (self.program != header.program_words)),
                Assert(inside["in_parameters"] == (self.records != header.parameters)),
                Assert(inside["program_left"] == header.program_words - self.program),
                Assert(inside["parameters_left"] == header.parameters - self.records),
                Assert(block.program_write.address == self.program[:16]),
                Assert(block.parameter_write.address == self.records[:16]),
            ]
            with m.If(self.records < header.parameters):
                m.d.comb += Assert(inside["words"] == self.part)
                with m.If(self.part.any()):
                    m.d.comb += Assert(inside["held"] == history[0])
            if cfg.weights == "resident":
                assembler = inside.block("assembler")
                held, count, beats = assembler["held"], assembler["count"], cfg.weight_beats
                m.d.comb += Assert(block.weight_write.address == self.weights[:16])
                with m.If(self.records < header.parameters):
                    m.d.comb += Assert(~count.any())
                with m.Else():
                    m.d.comb += Assert(count == self.part)
                    for index in range(beats - 1):
                        with m.If(self.part > index):
                            found = held.word_select(beats - 2 - index, MEMORY_BITS)
                            m.d.comb += Assert(found == history[index])


REQUESTS = (
    "requests cover the header and, where it is legal, the words up to its length, in order and no"
    f" others, each at most {BURST_BEATS} words and within {BURST_BEATS * MEMORY_BITS // 8} bytes,"
    f" held until taken or halted; the CRC sees every word from word {CRC_FROM} on; a load ends"
    " with the code of the first rule that is broken, and waits for nothing but the memory"
)
SECTIONS = (
    "program, parameter records and resident weights are written once, in order, as the beats"
    " have them, nothing beyond the sizes of their memories; a load that is not refused writes"
    " them whole"
)

PROOFS = [
    Proof(
        block="program_loader",
        name=name,
        configuration=f"tiny, {cfg.weights} weights",
        statement=statement,
        top=functools.partial(top, cfg),
        depth=3,
        cover_depth=cover_depth,
        quick=False,
    )
    for name, statement, top, cover_depth in (
        ("loads", REQUESTS, Loads, 24),
        ("sections", SECTIONS, Sections, 32),
    )
    for cfg in (preset("tiny"), dataclasses.replace(preset("tiny"), weights="streamed"))
]
