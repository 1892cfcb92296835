"""A whole accelerator between cocotbext-axi's clients, with programs in memory; for its benches."""

import random
from dataclasses import dataclass
from pathlib import Path

import cocotb
from cocotb.triggers import ClockCycles, with_timeout

from penstock.registers import Code, Command, State
from penstock.sim.axi_clients import AxiChecker, AxiHost, AxiMemorySlave, watch_channel
from penstock.sim.runner import bench_parameters
from penstock.sim.streams import CLOCK_PERIOD, start_axi_clock

LIMIT = 200_000
"""Cycles in which every command must end: a hang."""

_GAP = 0x1000  # bytes at least between the jobs' memories, and before the first


@dataclass(frozen=True)
class Placed:
    """A job at its place in memory.

    ``registers``: addresses include the place. ``expected``: each image's output, with and without
    gating, whole 64-bit words.
    """

    registers: dict[str, int]
    program_bytes: int
    expected: dict[int, list[bytes]]


class AxiBench:
    """The accelerator, its clients, and the jobs of the parameters, side by side in one memory.

    The parameters: ``bits``, ``jobs`` (write_job's, with ``expected`` by GATING: outputs as hex
    text, and ``program_bytes``), ``latency``, ``stalls``.
    """

    def __init__(self, dut):
        parameters = bench_parameters()
        self.dut = dut
        self.random = random.Random(cocotb.RANDOM_SEED)
        dut.mark.value = 0
        self.memory = AxiMemorySlave(dut, seed=self.random.getrandbits(32))
        self.host = AxiHost(dut, seed=self.random.getrandbits(32))
        self.stall()
        for channel, names in (("b", ("resp",)), ("r", ("data", "resp"))):
            cocotb.start_soon(watch_channel(dut, "s_axil", channel, names, lambda fields: None))
        self.checker = AxiChecker(dut, bits=parameters["bits"])
        self.content = bytearray(self.random.randbytes(_GAP))
        self.jobs = [self._place(job) for job in parameters["jobs"]]

    def _place(self, job: dict) -> Placed:
        place = len(self.content)
        self.content += Path(job["memory"]).read_bytes()
        self.content += self.random.randbytes(-len(self.content) % 64)
        self.content += self.random.randbytes(_GAP + 64 * self.random.randrange(8))
        registers = dict(job["registers"])
        for name in ("PROGRAM", "INPUT", "OUTPUT"):
            registers[name] += place
        expected = {
            int(gating): [bytes.fromhex(output) for output in outputs]
            for gating, outputs in job["expected"].items()
        }
        return Placed(registers, job["program_bytes"], expected)

    async def begin(self) -> "AxiBench":
        """Reset, memory as new, registers of the first job."""
        await start_axi_clock(self.dut)
        self.restore()
        await self.set()
        return self

    def stall(self):
        """Latencies and stalls of the parameters, on both ports."""
        parameters = bench_parameters()
        self.memory.latency = tuple(parameters["latency"])
        self.memory.stalls = self.host.channels.stalls = parameters["stalls"]

    def at_full_speed(self):
        """No latency and no stall."""
        self.memory.latency = self.memory.stalls = self.host.channels.stalls = 0

    def restore(self):
        """All programs and images as they were, and no output yet."""
        self.memory.content = bytearray(self.content)

    async def set(self, job: int = 0, **changes: int):
        """Write the registers of a job."""
        for name, value in (self.jobs[job].registers | changes).items():
            await self.host.write(name, value)

    async def command(self, command: Command) -> Code:
        """Give a command and wait for its end, which comes, and with it that of all transfers."""
        code = await self.host.command(command, timeout=LIMIT)
        assert self.dut.interrupt.value
        assert self.checker.idle, f"{code.name} before the last transfer ended"
        return code

    async def begin_command(self, command: Command, cycles: int):
        """Give a command, and return so many cycles after it was accepted."""
        await self.host.write("COMMAND", command)
        await ClockCycles(self.dut.aclk, max(1, cycles))

    async def until_idle(self):
        """Wait until outstanding transfers have ended, behind a TIMEOUT."""
        for _ in range(LIMIT // 10):  # a read of STATUS takes that long at least
            if await self.host.state() == State.IDLE:
                return
        raise TimeoutError("the state must become IDLE")

    async def limited(self, access):
        """What an access gives, within LIMIT cycles. Raises SimTimeoutError."""
        return await with_timeout(cocotb.start_soon(access), LIMIT * CLOCK_PERIOD, "ns")

    async def refused(self) -> bool:
        """The flag in STATUS."""
        return bool((await self.host.status())["refused"])

    async def check_works(self, job: int = 0, *, load: bool, **changes: int):
        """LOAD, if asked, and START without a reset: the right output, and no other byte."""
        self.restore()
        if load:
            await self.set(job, **changes)
            assert await self.command(Command.LOAD) == Code.OK
        assert await self.command(Command.START) == Code.OK
        self.check_memory(job, **changes)

    def check_memory(self, job: int = 0, **changes: int):
        """Memory holds the job's outputs, and all else is as it was."""
        expected, found = self.expected(job, **changes), self.memory.content
        if found != expected:
            place = next(i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
            registers = self.jobs[job].registers | changes
            raise AssertionError(
                f"byte {place:#x} must be {expected[place]:#04x}, not {found[place]:#04x}; job "
                f"{job}, {registers}"
            )

    def expected(self, job: int = 0, **changes: int) -> bytearray:
        """The memory behind a START, whose registers differ by ``changes`` from the job's."""
        registers = self.jobs[job].registers | changes
        content = bytearray(self.content)
        outputs = self.jobs[job].expected[registers["GATING"]]
        for image in range(registers["IMAGES"]):
            start = registers["OUTPUT"] + image * registers["OUTPUT_STRIDE"]
            content[start : start + len(outputs[image])] = outputs[image]
        return content
