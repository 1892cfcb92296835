"""The host link: frames of bytes become accesses of registers and memory, and answers."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from penstock.boards.frames import (
    ANSWER_START,
    BLOCK_BYTES,
    IDENTITY,
    LONGEST_SILENCE,
    REQUEST,
    REQUEST_START,
    VERSION,
    WORD_BYTES,
    WRITE_BYTES,
    Operation,
    Status,
)
from penstock.config import BURST_BEATS, MEMORY_BITS
from penstock.errors import PenstockError
from penstock.hw.layouts import memory_signature, register_signature
from penstock.hw.pipeline import delay

POLYNOMIAL = 0xEDB88320  # CRC-32, least significant bit first
WRITE_BEATS = WRITE_BYTES // WORD_BYTES
REGISTER_WAIT = 7  # cycles from a register's address to its data, at least 3


def header_layout() -> data.StructLayout:
    """A request's fields as they lie in its first word."""
    layout = data.StructLayout({field.name: 8 * field.bytes for field in REQUEST[:5]})
    assert layout.size == MEMORY_BITS
    return layout


class BitCrc32(wiring.Component):
    """CRC-32 of the bits that come while ``step`` is high; ``o`` is its next bit.

    One bit per cycle, latency 1 cycle, no backpressure. While ``check`` is high a step passes on to
    the next bit of the CRC instead; after 32 of them it is as before. ``restart`` forgets all bits.
    """

    def __init__(self):
        super().__init__({"i": In(1), "step": In(1), "check": In(1), "restart": In(1), "o": Out(1)})

    def elaborate(self, platform):
        m = Module()
        state, feedback = Signal(32, reset_less=True), Signal()
        m.d.comb += feedback.eq((state[0] ^ self.i) & ~self.check)
        m.d.comb += self.o.eq(~state[0])
        with m.If(self.restart):
            m.d.sync += state.eq(-1)
        with m.Elif(self.step):
            rotated = Cat(state[1:], state[0] & self.check)
            m.d.sync += state.eq(rotated ^ Mux(feedback, POLYNOMIAL, 0))
        return m


class _Phase(enum.Enum, shape=5):
    """What the link is doing. Those below 16 last a number of bits, see _BYTES."""

    START, HEADER, DATA, HEADER_CHECK, DATA_CHECK = 0, 1, 2, 5, 6  # of a request
    ANSWER_HEADER, SEND, STATUS, ANSWER_CHECK = 8, 9, 10, 12
    IDLE, JUDGE, DECIDE, EXECUTE, ANSWER, QUIET = 16, 17, 18, 19, 20, 21
    STORE_REQUEST, STORE_DATA, STORE_DONE = 24, 25, 26
    FETCH_REGISTER, FETCH_REQUEST, FETCH_DATA = 28, 29, 30


_BYTES = {
    **{_Phase.START: 1, _Phase.HEADER: 7, _Phase.DATA: 8},
    **{_Phase.ANSWER_HEADER: 3, _Phase.SEND: 8, _Phase.STATUS: 1},
    **{_Phase.HEADER_CHECK: 4, _Phase.DATA_CHECK: 4, _Phase.ANSWER_CHECK: 4},
}
_HEADER = {_Phase.HEADER: _Phase.HEADER_CHECK, _Phase.HEADER_CHECK: _Phase.JUDGE}
_FIRST = {
    Operation.READ_REGISTER: _Phase.FETCH_REGISTER,
    Operation.READ_MEMORY: _Phase.FETCH_REQUEST,
    Operation.IDENTIFY: _Phase.SEND,
}
"""What comes behind the header of an answer with data."""

_WRITES = Operation.WRITE_REGISTER, Operation.WRITE_MEMORY
_OF_MEMORY = Operation.READ_MEMORY, Operation.WRITE_MEMORY


class HostLink(wiring.Component):
    """Serves the frames of penstock.boards.frames: requests from ``i``, answers to ``o``.

    A byte in 8 cycles, one in 9 of an answer, because all is done bit by bit; applies backpressure
    while a request is carried out and answered. A request whose header does not check is not
    answered, and whatever follows it is dropped until nothing has come for SHORTEST_SILENCE; that
    also ends a request which breaks off. Any other one is answered.

    Memory needs no buffer. Words are written as they come, at most WRITE_BYTES a memory request, so
    that others wait no longer than that takes, and before their CRC is checked: a request that goes
    wrong leaves anything in the words that it named, and nowhere else. What is missing of a memory
    request is made up. Words are read one by one; the memory's data never wait for the host.

    ``memory_bits``: log2 of the memory's bytes; no request goes beyond. ``active`` is high during a
    request, ``error`` from one that went wrong to the next that did not.
    """

    def __init__(self, *, clock_hz: float, memory_bits: int):
        if not ceil_log2(BLOCK_BYTES) <= memory_bits <= 32:
            raise PenstockError(f"memory_bits: must be in 9..32, not {memory_bits}")
        self.memory_bits = memory_bits
        self.silence_bits = ceil_log2(int(clock_hz * LONGEST_SILENCE) + 1) - 1
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "o": Out(stream.Signature(8)),
                "registers": Out(register_signature()),
                "memory": Out(memory_signature()),
                "active": Out(1),
                "error": Out(1),
            }
        )
        self.phase = Signal(_Phase, init=_Phase.IDLE)
        self.word = Signal(
            MEMORY_BITS, reset_less=True
        )  # bits enter at the top and leave at the bottom
        self.position = Signal(range(MEMORY_BITS), reset_less=True)  # bits of this phase so far
        self.operation = Signal(3, reset_less=True)
        self.sequence = Signal(8, reset_less=True)
        self.address = Signal(memory_bits, reset_less=True)  # a counter within its block
        self.left = Signal(range(BURST_BEATS + 1), reset_less=True)  # words of the request
        self.status = Signal(Status, reset_less=True)
        self.loads = Signal()  # what was read becomes `word`
        self.starts = Signal()  # the offered byte begins a request; held until it is taken
        self.wrong = Signal()  # a check of this request
        self.answered = Signal()  # the memory has, to a write
        self.executed = Signal()  # the write of the register that `sequence` asks for

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = BitCrc32()
        expired, end = Signal(), Signal()
        self._bits(m, crc, end)
        self._silence(m, expired)
        m.d.sync += self.starts.eq(self.i.payload == REQUEST_START)
        m.d.sync += self.registers.write.eq(0)
        with m.If(self.memory.write_done.valid):
            m.d.sync += self.answered.eq(1)
            with m.If(self.memory.write_done.p.error):
                m.d.sync += self.status.eq(Status.MEMORY_ERROR)
        m.d.sync += self.active.eq(~_one_of(self.phase, _Phase.IDLE, _Phase.START))
        with m.Switch(self.phase):
            self._request(m, crc, end, expired)
            self._data(m, end, expired)
            self._store(m)
            self._answer(m, crc, end)
            self._fetch(m)
        self._ports(m)
        return m

    def _bits(self, m: Module, crc: BitCrc32, end):
        """Moves a bit wherever a phase lasts some bits; ``end`` with its last one."""
        phase, position, code = self.phase, self.position, self.phase.as_value()
        receiving, sending, byte = Signal(), Signal(), Signal()
        received, sent = Signal(), Signal()
        m.d.comb += [
            receiving.eq(code[3:] == 0),
            sending.eq(code[3:] == 1),
            byte.eq(position[:3] == 7),
            received.eq(self.i.payload.bit_select(position[:3], 1)),
            sent.eq(self._sent(crc)),
            crc.i.eq(Mux(sending, sent, received)),
            crc.check.eq(code[2] & ~code[4]),
            crc.step.eq((receiving & self.i.valid) | (sending & ~self.o.valid)),
            self.i.ready.eq((receiving & byte) | (phase == _Phase.QUIET)),
        ]
        with m.Switch(phase):
            for each, count in _BYTES.items():
                with m.Case(each):
                    m.d.comb += end.eq(crc.step & byte & (position[3:] == count - 1))
        with m.If(crc.step):
            m.d.sync += position.eq(Mux(end, 0, position + 1))
            m.d.sync += self.wrong.eq(self.wrong | (crc.check & receiving & (received != crc.o)))
        with m.If(self.loads | (crc.step & ~crc.check)):
            m.d.sync += self.word.eq(self._following(received))
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(crc.step & sending):
            m.d.sync += self.o.payload.eq(Cat(self.o.payload[1:], sent))
            m.d.sync += self.o.valid.eq(byte)

    def _following(self, received):
        """What `word` becomes: a bit further, or what was read."""
        is_register, is_memory = (
            self.phase == phase for phase in (_Phase.FETCH_REGISTER, _Phase.FETCH_DATA)
        )
        shifted = Cat(self.word[1:], received)
        low = Mux(is_register, self.registers.read_data, shifted[:32])
        return Mux(is_memory, self.memory.read_data.p.data, Cat(low, shifted[32:]))

    def _sent(self, crc: BitCrc32):
        """The bit of an answer that is sent next."""
        position = self.position
        header = Cat(
            Const(ANSWER_START, 8), self.sequence, Mux(self._reads(), self.left, 0), Const(0, 1)
        )
        identity = Cat(Const(IDENTITY, 32), Const(VERSION, 8), Const(self.memory_bits, 24))
        register = self.operation == Operation.READ_REGISTER  # the word's low half
        word = Mux(
            self.operation == Operation.IDENTIFY,
            identity.bit_select(position, 1),
            self.word[0] & ~(register & position[5]),
        )
        choices = {
            _Phase.ANSWER_HEADER: header.bit_select(position[:5], 1),
            _Phase.SEND: word,
            _Phase.STATUS: self.status.bit_select(position[:3], 1),
        }
        sent = crc.o
        for phase, bit in choices.items():
            sent = Mux(self.phase == phase, bit, sent)
        return sent

    def _reads(self):
        """Whether an answer has data, up to its end."""
        return (self.status == Status.OK) & ~_one_of(self.operation, *_WRITES)

    def _silence(self, m: Module, expired):
        """``expired`` where a frame's next byte, or its end, has been waited for too long."""
        cycles = Signal(self.silence_bits + 1)
        m.d.comb += expired.eq(cycles[-1])
        m.d.sync += cycles.eq(0)
        waits = (self.phase.as_value()[3:] == 0) & (self.phase != _Phase.START)
        with m.If((waits | (self.phase == _Phase.QUIET)) & ~self.i.valid):
            m.d.sync += cycles.eq(cycles + 1)

    def _request(self, m: Module, crc: BitCrc32, end, expired):
        """A request up to its data."""
        phase, header = self.phase, data.View(header_layout(), self.word)
        # Of the header at the end of its check; it holds until DECIDE.
        refused = {
            status: delay(m, condition, 1, name=f"{status.name.lower()}")
            for status, condition in self._refusals(header).items()
        }
        with m.Case(_Phase.IDLE):
            m.d.comb += crc.restart.eq(1)
            m.d.sync += [self.position.eq(0), self.wrong.eq(0), phase.eq(_Phase.START)]
        with m.Case(_Phase.START), m.If(end):
            m.d.sync += phase.eq(Mux(self.starts, _Phase.HEADER, _Phase.IDLE))
        for each, following in _HEADER.items():
            with m.Case(each):
                with m.If(end):
                    m.d.sync += phase.eq(following)
                with m.If(expired):
                    m.d.sync += [phase.eq(_Phase.IDLE), self.error.eq(1)]
        with m.Case(_Phase.JUDGE):
            with m.If(self.wrong):
                m.d.sync += [phase.eq(_Phase.QUIET), self.error.eq(1)]
            with m.Else():
                m.d.sync += [
                    self.operation.eq(header.operation[:3]),
                    self.sequence.eq(header.sequence),
                    self.executed.eq(self.executed & (header.sequence == self.sequence)),
                    self.left.eq(header.words),
                    self.address.eq(header.address),
                    self.status.eq(Status.OK),
                    phase.eq(_Phase.DECIDE),
                ]
        with m.Case(_Phase.DECIDE):
            m.d.sync += phase.eq(Mux(_one_of(self.operation, *_WRITES), _Phase.DATA, _Phase.ANSWER))
            for status, condition in refused.items():
                with m.If(condition):
                    m.d.sync += [self.status.eq(status), phase.eq(_Phase.ANSWER)]
        with m.Case(_Phase.QUIET), m.If(expired):
            m.d.sync += phase.eq(_Phase.IDLE)

    def _refusals(self, header) -> dict:
        """Status: whether a request gets it; of several the last one."""
        operation = header.operation[:3]
        memory = _one_of(operation, *_OF_MEMORY)
        write = operation == Operation.WRITE_MEMORY
        first = header.address[:9] // WORD_BYTES
        beyond = header.address[8:] & Mux(memory, -1 << self.memory_bits - 8, -1)
        unaligned = header.address[2] | (write & header.address[3:6].any())
        return {
            Status.BAD_ADDRESS: (operation != Operation.IDENTIFY)
            & (beyond.any() | header.address[:2].any() | (memory & unaligned)),
            Status.BAD_LENGTH: (header.words == 0)
            | Mux(memory, first + header.words > BURST_BEATS, header.words[1:].any()),
            Status.BAD_OPERATION: header.operation > max(Operation),
        }

    def _data(self, m: Module, end, expired):
        """The data of a write, and what follows from their check."""
        phase, begun = self.phase, self.address[3:6].any()  # a memory request
        with m.Case(_Phase.DATA):
            with m.If(end & (self.operation == Operation.WRITE_REGISTER)):
                m.d.sync += phase.eq(_Phase.DATA_CHECK)
            with m.Elif(end):
                m.d.sync += phase.eq(Mux(begun, _Phase.STORE_DATA, _Phase.STORE_REQUEST))
            with m.If(expired):
                m.d.sync += [self.error.eq(1), self.wrong.eq(1), phase.eq(_Phase.IDLE)]
                with m.If(begun & (self.operation == Operation.WRITE_MEMORY)):
                    m.d.sync += phase.eq(_Phase.STORE_DATA)
        with m.Case(_Phase.DATA_CHECK):
            with m.If(end):
                m.d.sync += phase.eq(_Phase.EXECUTE)
            with m.If(expired):
                m.d.sync += [phase.eq(_Phase.IDLE), self.error.eq(1)]
        with m.Case(_Phase.EXECUTE):
            m.d.sync += phase.eq(_Phase.ANSWER)
            with m.If(self.wrong):
                m.d.sync += self.status.eq(Status.BAD_CRC)
            with m.Elif(self.operation == Operation.WRITE_REGISTER):
                m.d.sync += [self.registers.write.eq(~self.executed), self.executed.eq(1)]

    def _store(self, m: Module):
        """A word of data to memory; ``wrong`` here means that no more come."""
        phase, memory = self.phase, self.memory
        last = memory.write_data.p.last
        with m.Case(_Phase.STORE_REQUEST):
            m.d.comb += memory.write_request.valid.eq(1)
            with m.If(memory.write_request.ready):
                m.d.sync += phase.eq(_Phase.STORE_DATA)
        with m.Case(_Phase.STORE_DATA):
            m.d.comb += memory.write_data.valid.eq(1)
            with m.If(memory.write_data.ready):
                self._next_word(m)
                with m.If(last):
                    m.d.sync += phase.eq(_Phase.STORE_DONE)
                with m.Elif(~self.wrong):
                    m.d.sync += phase.eq(_Phase.DATA)
        with m.Case(_Phase.STORE_DONE), m.If(self.answered):
            m.d.sync += self.answered.eq(0)
            m.d.sync += phase.eq(Mux(self.left == 0, _Phase.DATA_CHECK, _Phase.DATA))
            with m.If(self.wrong):
                m.d.sync += phase.eq(_Phase.IDLE)

    def _next_word(self, m: Module):
        m.d.sync += self.address[3:9].eq(self.address[3:9] + 1)
        m.d.sync += self.left.eq(self.left - 1)

    def _answer(self, m: Module, crc: BitCrc32, end):
        """An answer but for the reads."""
        phase = self.phase
        with m.Case(_Phase.ANSWER):
            m.d.comb += crc.restart.eq(1)
            m.d.sync += phase.eq(_Phase.ANSWER_HEADER)
        with m.Case(_Phase.ANSWER_HEADER), m.If(end):
            m.d.sync += phase.eq(_Phase.STATUS)
            with m.If(self._reads()), m.Switch(self.operation):
                for operation, following in _FIRST.items():
                    with m.Case(operation):
                        m.d.sync += phase.eq(following)
        with m.Case(_Phase.SEND), m.If(end):
            m.d.sync += phase.eq(Mux(self.left == 1, _Phase.STATUS, _Phase.FETCH_REQUEST))
            self._next_word(m)
        with m.Case(_Phase.STATUS), m.If(end):
            m.d.sync += phase.eq(_Phase.ANSWER_CHECK)
        with m.Case(_Phase.ANSWER_CHECK), m.If(end):
            m.d.sync += self.error.eq(self.status != Status.OK)
            known = _one_of(self.status, Status.OK, Status.MEMORY_ERROR)  # where the frame ended
            m.d.sync += phase.eq(Mux(known, _Phase.IDLE, _Phase.QUIET))

    def _fetch(self, m: Module):
        """A word of a read."""
        phase, memory = self.phase, self.memory
        with m.Case(_Phase.FETCH_REGISTER):
            m.d.sync += self.position.eq(self.position + 1)
            with m.If(self.position == REGISTER_WAIT):
                m.d.comb += self.loads.eq(1)
                m.d.sync += [self.position.eq(0), phase.eq(_Phase.SEND)]
        with m.Case(_Phase.FETCH_REQUEST):
            m.d.comb += memory.read_request.valid.eq(1)
            with m.If(memory.read_request.ready):
                m.d.sync += phase.eq(_Phase.FETCH_DATA)
        with m.Case(_Phase.FETCH_DATA), m.If(memory.read_data.valid):
            m.d.comb += self.loads.eq(1)
            m.d.sync += phase.eq(_Phase.SEND)
            with m.If(memory.read_data.p.error):
                m.d.sync += self.status.eq(Status.MEMORY_ERROR)

    def _ports(self, m: Module):
        """Addresses, lengths and data; nobody looks at them at other times."""
        memory, address = self.memory, Cat(Const(0, 3), self.address[3:])
        m.d.comb += [
            self.registers.address.eq(self.address),
            self.registers.write_data.eq(self.word),
            memory.read_request.p.address.eq(address),
            memory.read_request.p.beats.eq(1),
            memory.read_data.ready.eq(1),  # which comes when it is awaited
            memory.write_request.p.address.eq(address),
            memory.write_request.p.beats.eq(
                Mux(self.left >= WRITE_BEATS, WRITE_BEATS, self.left[:3])
            ),
            memory.write_data.p.data.eq(self.word),
            memory.write_data.p.last.eq((self.left == 1) | (self.address[3:6] == WRITE_BEATS - 1)),
        ]


def _one_of(value, *choices):
    return Cat(value == choice for choice in choices).any()
