"""Bench of the host link: frames made and judged here, disturbed in every place, with stalls."""

import random
import struct
import zlib
from collections import deque

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from penstock.boards.frames import Operation, Status
from penstock.boards.link import HostLink
from penstock.hw.layouts import memory_signature
from penstock.sim.link_blocks import CLOCK_HZ, MEMORY_BITS
from penstock.sim.memory import MemoryModel
from penstock.sim.runner import bench_parameters
from penstock.sim.streams import (
    StreamMonitor,
    StreamSink,
    StreamSource,
    payload_layout,
    start_clock,
)

SIZE = 1 << MEMORY_BITS
SILENCE = 1 << HostLink(clock_hz=CLOCK_HZ, memory_bits=MEMORY_BITS).silence_bits
HEADER = 12  # bytes, with their check


def request(operation: int, sequence: int, words: int, address: int, data: bytes = b"") -> bytes:
    """A request as docs/host_link.md has it."""
    header = struct.pack("<BBBBI", 0x50, operation, sequence, words, address)
    frame = header + struct.pack("<I", zlib.crc32(header))
    return frame + data + struct.pack("<I", zlib.crc32(header + data)) if data else frame


def answer(sequence: int, status: Status, data: bytes = b"") -> bytes:
    """An answer as docs/host_link.md has it."""
    frame = struct.pack("<BBB", 0xA5, sequence, len(data) // 8) + data + bytes((status,))
    return frame + struct.pack("<I", zlib.crc32(frame))


class Registers:
    """A register file behind the port: data two cycles after their address."""

    def __init__(self, dut):
        self.dut = dut
        self.values = {address: random.getrandbits(32) for address in range(0, 256, 4)}
        self.writes = []
        self.ticking = None  # a register that counts, both halves alike
        cocotb.start_soon(self._run())

    async def _run(self):
        dut, ticks = self.dut, 0
        addresses = deque([0], maxlen=2)
        while True:
            await RisingEdge(dut.clk)
            ticks = ticks + 1 & 0xFFFF
            if self.ticking is not None:
                self.values[self.ticking] = ticks | ticks << 16
            dut.link__registers__read_data.value = self.values.get(addresses[0], 0)
            addresses.append(int(dut.link__registers__address.value))
            if dut.link__registers__write.value:
                write = addresses[-1], int(dut.link__registers__write_data.value)
                self.writes.append(write)


class Bench:
    """The link with its host, its registers and its memory."""

    def __init__(self, dut, **options):
        stalls = bench_parameters()["stalls"]
        self.dut = dut
        self.host = StreamSource(dut, "link__i", 8, stalls=stalls, seed=1)
        self.answers = StreamSink(dut, "link__o", 8, stalls=stalls, seed=2)
        self.registers = Registers(dut)
        options = {"latency": random.choice((1, 5, 32)), "stalls": stalls} | options
        self.memory = MemoryModel(dut, "link__memory", size=SIZE, **options)
        self.memory.content = bytearray(random.randbytes(SIZE))
        layout = payload_layout(memory_signature().members["write_request"].signature)
        self.writes = StreamMonitor(dut, "link__memory__write_request", layout)
        self.sequence = random.getrandbits(8)
        self.taken = 0  # bytes of answers that were looked at

    def next_sequence(self) -> int:
        self.sequence = self.sequence + 1 & 0xFF
        return self.sequence

    async def expect(self, expected: bytes):
        """Wait for an answer, which must be this one."""
        await self.answers.wait_for(self.taken + len(expected))
        came = bytes(self.answers.words[self.taken :])
        assert came == expected, f"{came.hex()} must be {expected.hex()}"
        self.taken += len(expected)

    async def ask(self, operation, words, address, data=b"", *, status=Status.OK, read=b""):
        """A request, and its answer."""
        sequence = self.next_sequence()
        self.host.send(*request(operation, sequence, words, address, data))
        await self.expect(answer(sequence, status, read))
        return sequence

    async def silence(self):
        """Pass the time behind which the link expects a frame."""
        await self.host.drained()
        await ClockCycles(self.dut.clk, SILENCE + 100)

    async def works(self):
        """It reads, writes and says that all is well."""
        dut = self.dut
        word, address = random.randbytes(8), 64 * random.randrange(SIZE // 64)
        await self.ask(Operation.WRITE_MEMORY, 1, address, word)
        await self.ask(Operation.READ_MEMORY, 1, address, read=word)
        await ClockCycles(dut.clk, 20)
        assert not dut.link__active.value and not dut.link__error.value
        assert len(self.answers.words) == self.taken

    def check_writes(self):
        """What the memory was asked to write: whole pieces of 64 bytes."""
        for write in self.writes.words:
            assert write["address"] % 64 == 0 and 1 <= write["beats"] <= 8, write


async def started(dut, **options) -> Bench:
    bench = Bench(dut, **options)
    await start_clock(dut)
    return bench


def burst(aligned: int) -> tuple[int, int]:
    """(words, address) of a transfer within 512 bytes, from a multiple of ``aligned`` on."""
    words = random.choice((1, 2, 7, 8, 9, 15, random.randint(1, 24), 64))
    first = random.randrange(0, 512 - 8 * words + 1, aligned)
    return words, random.randrange(0, SIZE, 512) + first


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def reads_and_writes(dut):
    """Requests of every kind in any order; nothing else is written."""
    bench = await started(dut)
    expected, written = bytearray(bench.memory.content), []
    for index in range(40):
        kind = index % 5 if index < 5 else random.choice((0, 1, 2, 3, 3, 4))
        register = 4 * random.randrange(64)
        if kind == Operation.READ_REGISTER:
            value = struct.pack("<Q", bench.registers.values[register])
            await bench.ask(kind, 1, register, read=value)
        elif kind == Operation.WRITE_REGISTER:
            value = random.getrandbits(32)
            await bench.ask(kind, 1, register, struct.pack("<Q", value))
            written.append((register, value))
        elif kind == Operation.READ_MEMORY:
            words, address = burst(8)
            await bench.ask(kind, words, address, read=bytes(expected[address:][: 8 * words]))
        elif kind == Operation.WRITE_MEMORY:
            words, address = burst(64)
            data = random.randbytes(8 * words)
            await bench.ask(kind, words, address, data)
            expected[address : address + len(data)] = data
        else:
            identity = b"PNSL" + bytes((1, MEMORY_BITS, 0, 0))
            await bench.ask(kind, 1, random.getrandbits(32), read=identity)
    assert bench.memory.content == expected
    assert bench.registers.writes == written
    bench.check_writes()


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def a_register_is_read_at_once(dut):
    """One that counts is not torn."""
    bench = await started(dut)
    bench.registers.ticking = 0x3C
    for _ in range(10):
        sequence = bench.next_sequence()
        bench.host.send(*request(Operation.READ_REGISTER, sequence, 1, 0x3C))
        await bench.answers.wait_for(bench.taken + 16)
        low, high = struct.unpack("<HH", bytes(bench.answers.words[bench.taken + 3 :][:4]))
        assert low == high
        bench.taken += 16


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def a_repeated_request_is_done_once_and_answered_again(dut):
    """A register is written once for each sequence number; what failed may be repeated."""
    bench = await started(dut)
    written = []
    for attempt in range(10):
        register, value = 4 * random.randrange(64), random.getrandbits(32)
        data = struct.pack("<Q", value)
        sequence = bench.next_sequence()
        frame = request(Operation.WRITE_REGISTER, sequence, 1, register, data)
        if random.random() < 0.5:
            bench.host.send(*frame[:-1], frame[-1] ^ 1)
            await bench.expect(answer(sequence, Status.BAD_CRC))
            await bench.silence()
        for _ in range(random.randint(1, 3)):
            bench.host.send(*frame)
            await bench.expect(answer(sequence, Status.OK))
        written.append((register, value))
        if attempt == 3:  # all 256 numbers of reads, and the first one again
            for _ in range(255):
                value = struct.pack("<Q", bench.registers.values[0])
                await bench.ask(Operation.READ_REGISTER, 1, 0, read=value)
            assert bench.sequence == (sequence - 1) & 0xFF
    assert bench.registers.writes == written


@cocotb.test(timeout_time=400, timeout_unit="ms")
async def refused_requests(dut):
    """A wrong operation, length or address: a status, and nothing is done."""
    bench = await started(dut)
    before = bytes(bench.memory.content)
    read, write = Operation.READ_MEMORY, Operation.WRITE_MEMORY
    cases = [(operation, 1, 0, Status.BAD_OPERATION) for operation in (5, 7, 8, 11, 131, 255)]
    for operation in (read, write):
        cases += [(operation, words, 0, Status.BAD_LENGTH) for words in (0, 65, 128, 255)]
        cases += [(operation, 2, 512 * 5 - 64, Status.OK), (operation, 8, 512 * 5 - 64, Status.OK)]
        cases += [(operation, 9, 512 * 5 - 64, Status.BAD_LENGTH)]
        cases += [(operation, 64, 512 * 5 + 64, Status.BAD_LENGTH)]
        cases += [(operation, 1, SIZE << bit, Status.BAD_ADDRESS) for bit in (0, 3, 15)]
        cases += [(operation, 1, 1 << bit, Status.BAD_ADDRESS) for bit in range(3)]
    cases += [(write, 1, 1 << bit, Status.BAD_ADDRESS) for bit in range(3, 6)]
    cases += [(read, 1, 1 << bit, Status.OK) for bit in range(3, 6)]
    for operation in (Operation.READ_REGISTER, Operation.WRITE_REGISTER):
        cases += [(operation, words, 4, Status.BAD_LENGTH) for words in (0, 2, 128)]
        cases += [(operation, 1, at, Status.BAD_ADDRESS) for at in (1, 2, 256, 1 << 31)]
    cases += [(Operation.IDENTIFY, 2, 0, Status.BAD_LENGTH)]
    for operation, words, address, status in cases:
        if status == Status.OK:
            expected = before[address : address + 8 * words]
            write_data = expected if operation == write else b""
            read_data = expected if operation == read else b""
            await bench.ask(operation, words, address, write_data, read=read_data)
            continue
        data = random.randbytes(8 * words) if operation in (1, 3) else b""
        sequence = bench.next_sequence()
        bench.host.send(*request(operation, sequence, words, address, data))
        await bench.expect(answer(sequence, status))
        await bench.silence()
        assert dut.link__error.value
    assert bench.memory.content == before
    assert not bench.registers.writes
    await bench.works()


def random_request(sequence: int) -> tuple[bytes, int, int]:
    """(frame, memory words that it writes, their address)."""
    operation = random.choice(list(Operation) + [Operation.WRITE_MEMORY] * 4)
    if operation == Operation.WRITE_MEMORY:
        words, address = burst(64)
        data = random.randbytes(8 * words)
        return request(operation, sequence, words, address, data), words, address
    if operation == Operation.READ_MEMORY:
        words, address = burst(8)
        return request(operation, sequence, words, address), 0, 0
    data = random.randbytes(8) if operation == Operation.WRITE_REGISTER else b""
    return request(operation, sequence, 1, 0x40, data), 0, 0


async def check_disturbed(bench: Bench, before: bytes, words: int, address: int):
    """After a silence: outside of the words that a request named nothing was written."""
    await bench.silence()
    content = bench.memory.content
    end = address + 8 * words
    assert content[:address] == before[:address] and content[end:] == before[end:]
    assert not bench.registers.writes
    bench.check_writes()
    await bench.works()


@cocotb.test(timeout_time=1000, timeout_unit="ms")
async def requests_that_break_off(dut):
    """A request cut anywhere is not answered, and the next one is served after a silence."""
    bench = await started(dut)
    for index in range(40):
        frame, words, address = random_request(bench.next_sequence())
        before = bytes(bench.memory.content)
        cut = index if index < HEADER + 4 else random.randrange(len(frame))
        bench.host.send(*frame[: min(cut, len(frame) - 1)])
        await check_disturbed(bench, before, words, address)


@cocotb.test(timeout_time=1000, timeout_unit="ms")
async def flipped_bits(dut):
    """One in the header: no answer; one in the data: BAD_CRC; none of the two does anything."""
    bench = await started(dut)
    for index in range(40):
        sequence = bench.next_sequence()
        frame, words, address = random_request(sequence)
        before = bytes(bench.memory.content)
        where = index % HEADER if index % 2 else random.randrange(len(frame))
        wrong = bytearray(frame)
        wrong[where] ^= 1 << random.randrange(8)
        bench.host.send(*wrong)
        if where >= HEADER:
            await bench.expect(answer(sequence, Status.BAD_CRC))
        else:
            words = 0
        await check_disturbed(bench, before, words, address)


@cocotb.test(timeout_time=1000, timeout_unit="ms")
async def garbage(dut):
    """Any bytes, starts of requests and pieces of good ones among them, do nothing."""
    bench = await started(dut)
    for _ in range(20):
        before = bytes(bench.memory.content)
        noise = bytearray(random.randbytes(random.randint(1, 600)))
        for _ in range(random.randint(0, 5)):
            noise[random.randrange(len(noise))] = 0x50
        if random.random() < 0.5:  # a broken start, and a good request before the silence is over
            frame, *_ = random_request(bench.next_sequence())
            noise = b"\x50" + random.randbytes(HEADER) + frame
        bench.host.send(*noise)
        await check_disturbed(bench, before, 0, 0)


@cocotb.test(timeout_time=1000, timeout_unit="ms")
async def lost_and_doubled_bytes(dut):
    """Data that are too short wait for a silence; too long ones are told; nothing else happens."""
    bench = await started(dut)
    for _ in range(20):
        words, address = burst(64)
        sequence = bench.next_sequence()
        before = bytes(bench.memory.content)
        data = random.randbytes(8 * words)
        frame = request(Operation.WRITE_MEMORY, sequence, words, address, data)
        where = random.randrange(HEADER, len(frame))
        if random.random() < 0.5:
            bench.host.send(*frame[:where], *frame[where + 1 :])
        else:
            twice = bytes((frame[where] ^ 0xFF,))
            bench.host.send(*frame[:where], *twice, *frame[where:])
            await bench.expect(answer(sequence, Status.BAD_CRC))
        await check_disturbed(bench, before, words, address)


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def a_pause_within_a_frame_is_borne(dut):
    """Shorter than the silence, between any two bytes."""
    bench = await started(dut)
    data = random.randbytes(16)
    sequence = bench.next_sequence()
    for byte in request(Operation.WRITE_MEMORY, sequence, 2, 128, data):
        bench.host.send(byte)
        await bench.host.drained()
        await ClockCycles(dut.clk, random.choice((0, 5, SILENCE - 40)))
    await bench.expect(answer(sequence, Status.OK))
    assert bench.memory.content[128:144] == data


@cocotb.test(timeout_time=200, timeout_unit="ms")
async def memory_errors(dut):
    """An error of any beat is told at the end of its request, and the next one is served."""
    bench = await started(dut)
    for _ in range(10):
        words, address = burst(64)
        bench.memory.errors = {address + 8 * random.randrange(words)}
        data = random.randbytes(8 * words)
        status = Status.MEMORY_ERROR
        await bench.ask(Operation.WRITE_MEMORY, words, address, data, status=status)
        assert dut.link__error.value
        await bench.ask(Operation.READ_MEMORY, words, address, status=status, read=data)
        bench.memory.errors = set()
        await bench.works()
