"""Random accesses, corrupted programs and faults: nothing hangs, no result is silently wrong.

The parameters, besides AxiBench's: how many ``accesses``, ``programs`` and ``faults``, ``rounds``
of accesses, ``hash``, ``weight_beats`` and ``watchdog`` (cycles, for corrupted programs).
"""

import json
import random
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiResp
from cocotbext.axi.axil_channels import (
    AxiLiteARTransaction,
    AxiLiteAWTransaction,
    AxiLiteWTransaction,
)

from penstock.hw.program_loader import CRC_FROM, HEADER_WORDS
from penstock.program import HEADER, MAGIC, VERSION, WORD_BYTES
from penstock.registers import ADDRESS, IDENTITY, REGISTERS, Code, Command, Register, State
from penstock.sim.axi_bench import LIMIT, AxiBench
from penstock.sim.axi_clients import cycle
from penstock.sim.runner import bench_parameters
from penstock.sim.tb_axi_faults import WATCHDOG as SHORT_WATCHDOG
from penstock.sim.tb_axi_faults import abort_amid, die_amid, measure

PERIOD = 50  # corrupted programs between two good ones
ALL_BYTES = 0b1111
WRITABLE = [register for register in REGISTERS if "w" in register.access] * 3 + [*REGISTERS]


class RegisterModel:
    """What the registers must answer, and hold where the host alone decides."""

    def __init__(self, config_hash: int):
        self.stored = {r.address: r.reset for r in REGISTERS if r.access == "rw"}
        self.constants = {
            ADDRESS["IDENTITY"]: IDENTITY,
            ADDRESS["VERSION"]: VERSION,
            ADDRESS["CONFIG"]: config_hash,
            ADDRESS["COMMAND"]: 0,
        }
        self._access = {register.address: register.access for register in REGISTERS}

    def write(self, address: int, data: int, strobes: int) -> AxiResp:
        """Answer to a write, which is done where it is OKAY."""
        register = address & ~3
        if "w" not in self._access.get(register, "") or strobes != ALL_BYTES:
            return AxiResp.SLVERR
        if register in self.stored:
            self.stored[register] = data & 1 if register == ADDRESS["GATING"] else data
        return AxiResp.OKAY

    def read(self, address: int) -> tuple[AxiResp, int | None]:
        """Answer to a read, and its value; None: any."""
        register = address & ~3
        if register not in self._access:
            return AxiResp.SLVERR, None
        return AxiResp.OKAY, (self.stored | self.constants).get(register)


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def random_accesses(dut):
    """Any access in any state is answered as the table says; behind it a good program runs."""
    bench = await AxiBench(dut).begin()
    parameters = bench_parameters()
    model = RegisterModel(parameters["hash"])
    for name, value in bench.jobs[0].registers.items():
        model.write(ADDRESS[name], value, ALL_BYTES)
    accesses = Counter()
    for number in range(parameters["rounds"]):
        rng = random.Random(f"{cocotb.RANDOM_SEED} {number}")
        for _ in range(parameters["accesses"] // parameters["rounds"]):
            if rng.random() < 0.5:
                address = random_address(rng, REGISTERS)
                answer = model.read(address)
                got, value = await send_read(bench, address)
                assert (got, None if answer[1] is None else value) == answer, f"{address:#x}"
                accesses["read", got.name] += 1
            else:
                address = random_address(rng, WRITABLE)
                write = address, random_data(rng, bench), random_strobes(rng)
                answer = model.write(*write)
                assert await send_write(bench, *write) == answer, f"{address:#x}"
                accesses["write", answer.name] += 1
            await ClockCycles(dut.aclk, rng.choice((1, 1, rng.randrange(1, 500))))
        if await bench.host.state() != State.IDLE:
            accesses["ABORT", "needed"] += 1
            await bench.host.write("COMMAND", Command.ABORT)
            await bench.host.ended(LIMIT)
        assert await bench.host.state() == State.IDLE and bench.checker.idle
        await bench.check_works(load=True)
        for name, value in bench.jobs[0].registers.items():
            model.write(ADDRESS[name], value, ALL_BYTES)
    record = {f"{kind} {answer}": count for (kind, answer), count in accesses.items()}
    Path("accesses.json").write_text(json.dumps(record))


def random_address(rng: random.Random, likely: Sequence[Register]) -> int:
    """Mostly of a register, COMMAND often; also others of the page."""
    kind = rng.random()
    if kind < 0.2:
        return ADDRESS["COMMAND"]
    if kind < 0.3:
        return rng.randrange(4096)
    return rng.choice(likely).address + rng.choice((0, 0, 0, 1, 2, 3))


def random_data(rng: random.Random, bench: AxiBench) -> int:
    """Commands, what a host would write, small numbers, and anything."""
    good = rng.choice(list(bench.jobs[0].registers.values()))
    commands = rng.choice(list(Command)), rng.choice(list(Command))
    return rng.choice((*commands, good, good, rng.randrange(100), rng.getrandbits(32)))


def random_strobes(rng: random.Random) -> int:
    return rng.choice((ALL_BYTES, ALL_BYTES, ALL_BYTES, ALL_BYTES, rng.getrandbits(4)))


async def send_read(bench: AxiBench, address: int) -> tuple[AxiResp, int]:
    """Answer and value of any address; cocotbext-axi's master would split what is not aligned."""
    port = bench.host.master.read_if
    port.ar_channel.send_nowait(AxiLiteARTransaction(araddr=address))
    answer = await bench.limited(port.r_channel.recv())
    return AxiResp(int(answer.rresp)), int(answer.rdata)


async def send_write(bench: AxiBench, address: int, data: int, strobes: int) -> AxiResp:
    """Answer to any write."""
    port = bench.host.master.write_if
    port.aw_channel.send_nowait(AxiLiteAWTransaction(awaddr=address))
    port.w_channel.send_nowait(AxiLiteWTransaction(wdata=data, wstrb=strobes))
    return AxiResp(int((await bench.limited(port.b_channel.recv())).bresp))


class Corruption:
    """Ways to spoil a program, each a function of its words and a random generator.

    ``other`` is another good program of the same configuration.
    """

    def __init__(self, words: np.ndarray, other: np.ndarray, config_hash: int):
        self.words, self.other, self.hash = words, other, config_hash
        self.kinds = {
            name.removeprefix("_by_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("_by_")
        }

    def draw(self, rng: random.Random) -> tuple[str, np.ndarray]:
        """Kind and words of a spoilt program, not the good one and with no CRC that holds."""
        while True:
            kind = rng.choice(list(self.kinds))
            words = self.kinds[kind](self.words.copy(), rng)
            if not np.array_equal(words, self.words) and not self._holds(words):
                return kind, words

    def _holds(self, words: np.ndarray) -> bool:
        """Whether something under the CRC changed, and the CRC with it."""
        header = HEADER.unpack(words[:HEADER_WORDS])
        length = header["length"]
        if length > len(words) or np.array_equal(words[CRC_FROM:], self.words[CRC_FROM:]):
            return False
        return zlib.crc32(words[CRC_FROM:length].astype("<u8").tobytes()) == header["crc"]

    def _by_bit_flips(self, words, rng):
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8, 64))):
            words[rng.randrange(len(words))] ^= np.uint64(1 << rng.randrange(64))
        return words

    def _by_flips_in_the_header(self, words, rng):
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            words[rng.randrange(HEADER_WORDS)] ^= np.uint64(1 << rng.randrange(64))
        return words

    def _by_bits_outside_the_crc(self, words, rng):
        words[rng.randrange(CRC_FROM)] ^= np.uint64(1 << rng.randrange(64))
        return words

    def _by_bytes(self, words, rng):
        stored = words.view(np.uint8)
        for _ in range(rng.choice((1, 1, 2, 5))):
            stored[rng.randrange(len(stored))] = rng.getrandbits(8)
        return words

    def _by_truncation(self, words, rng):
        start = rng.randrange(len(words))
        words[start:] = random_words(rng, len(words) - start)
        return words

    def _by_swapped_words(self, words, rng):
        for _ in range(rng.choice((1, 1, 3))):
            a, b = rng.randrange(len(words)), rng.randrange(len(words))
            words[[a, b]] = words[[b, a]]
        return words

    def _by_a_random_header(self, words, rng):
        words[:HEADER_WORDS] = random_words(rng, HEADER_WORDS)
        return words

    def _by_a_random_header_with_magic(self, words, rng):
        fields = HEADER.unpack(random_words(rng, HEADER_WORDS))
        for name, value in (("magic", MAGIC), ("version", VERSION), ("config", self.hash)):
            if name == "magic" or rng.random() < 0.8:
                fields[name] = value
        return self._with_header(words, fields)

    def _by_other_lengths(self, words, rng):
        """Lengths that add up, of other sections: shorter, or far behind the memory's end."""
        fields = HEADER.unpack(words[:HEADER_WORDS])
        fields["program_words"] = rng.randint(6 * fields["layers"], 1024)
        fields["parameters"] = rng.randint(0, 256)
        fields["weight_words"] = rng.randint(0, 1024)
        fields["weight_offset"] = HEADER_WORDS + fields["program_words"] + 2 * fields["parameters"]
        beats = bench_parameters()["weight_beats"]
        fields["length"] = fields["weight_offset"] + beats * fields["weight_words"]
        return self._with_header(words, fields)

    def _by_one_field(self, words, rng):
        fields = HEADER.unpack(words[:HEADER_WORDS])
        field = rng.choice(HEADER.fields)
        low, high = field.range
        fields[field.name] = rng.choice((low, high, rng.randint(low, high)))
        return self._with_header(words, fields)

    def _by_splicing(self, words, rng):
        """A part from another program, at the same place or elsewhere."""
        length = rng.randint(1, min(len(words), len(self.other)))
        there = rng.randint(0, len(self.other) - length)
        here = rng.choice((min(there, len(words) - length), rng.randint(0, len(words) - length)))
        words[here : here + length] = self.other[there : there + length]
        return words

    def _by_a_shifted_section(self, words, rng):
        start = rng.randrange(HEADER_WORDS, len(words) - 1)
        words[start:] = np.roll(words[start:], rng.choice((-1, 1, 5)))
        return words

    @staticmethod
    def _with_header(words, fields):
        words[:HEADER_WORDS] = np.array(HEADER.pack(**fields), np.uint64)
        return words


def random_words(rng: random.Random, count: int) -> np.ndarray:
    return np.frombuffer(rng.randbytes(WORD_BYTES * count), "<u8").astype(np.uint64)


def program_words(bench: AxiBench, job: int) -> np.ndarray:
    """(length,) uint64"""
    start, size = bench.jobs[job].registers["PROGRAM"], bench.jobs[job].program_bytes
    return np.frombuffer(bytes(bench.content[start : start + size]), "<u8").astype(np.uint64)


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def corrupted_programs(dut):
    """Each ends in a status code or in the right result; a good one runs in between."""
    bench = await AxiBench(dut).begin()
    parameters = bench_parameters()
    await bench.set(WATCHDOG=parameters["watchdog"])
    corruption = Corruption(program_words(bench, 0), program_words(bench, 1), parameters["hash"])
    place = bench.jobs[0].registers["PROGRAM"]
    ended = Counter()
    for number in range(parameters["programs"]):
        rng = random.Random(f"{cocotb.RANDOM_SEED} program {number}")
        kind, words = corruption.draw(rng)
        bench.restore()
        content = words.astype("<u8").tobytes()
        bench.memory.content[place : place + len(content)] = content
        before = bytes(bench.memory.content)
        what = f"program {number}, {kind}"
        code = await bench.command(Command.LOAD)
        loaded = (await bench.host.status())["loaded"]
        assert loaded == (code == Code.OK), what
        if code == Code.OK:
            code = await bench.command(Command.START)
            if code == Code.OK:
                right = bench.expected()
                right[place : place + len(content)] = content
                assert bench.memory.content == right, f"{what}: the result is wrong, code OK"
        else:
            assert bench.memory.content == before, what
            if number % 10 == 0:
                assert await bench.command(Command.START) == Code.NOT_LOADED, what
        ended[kind, code.name] += 1
        if number % PERIOD == 0:
            await bench.check_works(load=True)
            await bench.set(WATCHDOG=parameters["watchdog"])
    await bench.check_works(load=True)
    record = [[kind, code, count] for (kind, code), count in sorted(ended.items())]
    Path("corruptions.json").write_text(json.dumps(record))


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def random_faults(dut):
    """At any time of any program; then another one, or the same again, gives the right result."""
    bench = await AxiBench(dut).begin()
    lengths = []
    for job in range(len(bench.jobs)):
        bench.restore()
        await bench.set(job)
        lengths.append(dict(zip((Command.LOAD, Command.START), await measure(bench), strict=True)))
    ended = Counter()
    for number in range(bench_parameters()["faults"]):
        rng = random.Random(f"{cocotb.RANDOM_SEED} fault {number}")
        fault = Fault(bench, rng, rng.randrange(len(bench.jobs)), lengths)
        kind = rng.choice(list(fault.kinds))
        dut._log.info(f"fault {number}, {kind}: job {fault.job}, {fault.command.name}")
        bench.restore()
        await bench.set(fault.job)
        if fault.command == Command.START:
            assert await bench.command(Command.LOAD) == Code.OK
        code = await fault.kinds[kind]()
        await bench.until_idle()
        if fault.command == Command.START and rng.random() < 0.5:
            await bench.set(fault.job)
            await bench.check_works(fault.job, load=False)
        else:
            await bench.check_works(rng.randrange(len(bench.jobs)), load=True)
        ended[kind, fault.command.name, code.name] += 1
    record = [[*what, count] for what, count in sorted(ended.items())]
    Path("faults.json").write_text(json.dumps(record))


class Fault:
    """Ways to disturb a LOAD or a START of one job; each returns the code that it ended in."""

    def __init__(self, bench: AxiBench, rng: random.Random, job: int, lengths: list[dict]):
        self.bench, self.rng, self.job = bench, rng, job
        self.command = rng.choice((Command.LOAD, Command.START))
        self.length = lengths[job][self.command]
        self.kinds = {
            name.removeprefix("_by_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("_by_")
        }

    def _some_time(self) -> int:
        return self.rng.randrange(1, self.length)

    async def _by_abort(self) -> Code:
        await abort_amid(self.bench, self.command, self._some_time())
        return Code.ABORTED

    async def _by_a_failing_word(self) -> Code:
        memory, rng = self.bench.memory, self.rng
        start = self.bench.jobs[self.job].registers
        end = start["OUTPUT"] + start["IMAGES"] * start["OUTPUT_STRIDE"]
        place = rng.randrange(start["PROGRAM"], end, WORD_BYTES)
        memory.errors = {place: rng.choice((AxiResp.SLVERR, AxiResp.DECERR))}
        code = await self.bench.command(self.command)
        memory.errors = {}
        return self._checked(code, Code.BUS_ERROR)

    async def _by_a_dead_bus(self) -> Code:
        await self.bench.set(self.job, WATCHDOG=SHORT_WATCHDOG)
        channels = self.rng.sample(("aw", "w", "b", "ar", "r"), self.rng.randint(1, 5))
        cycles = self.rng.choice((0, self._some_time()))
        return self._checked(await die_amid(self.bench, self.command, cycles, tuple(channels)))

    async def _by_a_short_watchdog(self) -> Code:
        await self.bench.set(self.job, WATCHDOG=self.rng.randrange(1, 100))
        code = await self.bench.host.command(self.command, timeout=LIMIT)
        return self._checked(code)

    async def _by_writes_to_registers(self) -> Code:
        """Settings, and commands that are refused while another runs, change nothing."""
        bench, rng = self.bench, self.rng
        names = [name for name in bench.jobs[self.job].registers if name != "WATCHDOG"]
        half = cycle() + self.length // 2
        await bench.begin_command(self.command, rng.randrange(1, 20))
        for _ in range(rng.randrange(1, 30)):
            if cycle() < half and rng.random() < 0.4:
                await bench.host.write("COMMAND", rng.choice((Command.LOAD, Command.START, 0, 77)))
            else:
                await bench.host.write(rng.choice(names), rng.getrandbits(32))
        await bench.host.ended(LIMIT)
        return self._checked(await bench.host.code(), Code.OK)

    def _checked(self, code: Code, fault: Code = Code.TIMEOUT) -> Code:
        """OK only with the right result."""
        assert code in (Code.OK, fault), code.name
        if code == Code.OK and self.command == Command.START:
            self.bench.check_memory(self.job)
        return code
