"""Bad programs, aborts, memory errors and silence on the whole core: each ends in a code."""

import random
from pathlib import Path

import cocotb
from cocotb.triggers import ClockCycles

from penstock.registers import Code, Command, State
from penstock.sim.driver import CoreDriver
from penstock.sim.memory import MemoryModel
from penstock.sim.runner import bench_parameters
from penstock.sim.streams import start_clock

WATCHDOG = 3000  # cycles


class Bench:
    """A core with a good program in memory, and the output that it must give."""

    def __init__(self, dut):
        self.dut = dut
        job = bench_parameters()["job"]
        self.registers = job["registers"]
        self.content = Path(job["memory"]).read_bytes()
        self.expected = bytes.fromhex(bench_parameters()["expected"])
        self.cycles = bench_parameters()["cycles"]
        self.memory = MemoryModel(dut, seed=cocotb.RANDOM_SEED)
        self.driver = CoreDriver(dut)

    async def begin(self):
        """Reset, memory as new, registers set."""
        self.dut.mark.value = 0
        await start_clock(self.dut)
        self.restore()
        for name, value in self.registers.items():
            await self.driver.write(name, value)
        await self.driver.write("WATCHDOG", WATCHDOG)

    def restore(self):
        """The good program and images, and no output yet."""
        self.memory.content = bytearray(self.content)

    async def command(self, command: Command) -> Code:
        return await self.driver.command(command, timeout=1_000_000)

    async def start_unfinished(self, cycles: int, command: Command = Command.START):
        """Give a command and let it run for some cycles."""
        await self.driver.write("COMMAND", command)
        await ClockCycles(self.dut.clk, cycles)

    async def check_works(self, *, load: bool):
        """LOAD and START without reset: the right output."""
        self.restore()
        if load:
            assert await self.command(Command.LOAD) == Code.OK
        assert await self.command(Command.START) == Code.OK
        first = self.registers["OUTPUT"]
        assert self.memory.content[first : first + len(self.expected)] == self.expected

    async def state(self) -> State:
        return State(await self.driver.read("STATUS") >> 8 & 0xF)


@cocotb.test()
async def bad_programs_are_refused(dut):
    """Each corrupted word ends the LOAD with its code, START refuses, a good program runs."""
    bench = Bench(dut)
    await bench.begin()
    for word, flip, code in bench_parameters()["corruptions"]:
        address = bench.registers["PROGRAM"] + 8 * word
        value = int.from_bytes(bench.memory.content[address : address + 8], "little") ^ flip
        bench.memory.content[address : address + 8] = value.to_bytes(8, "little")
        assert await bench.command(Command.LOAD) == Code(code), f"word {word} ^ {flip:#x}"
        assert await bench.command(Command.START) == Code.NOT_LOADED
        assert await bench.state() == State.IDLE
        bench.restore()
    await bench.check_works(load=True)


@cocotb.test()
async def aborted_runs_restart(dut):
    """ABORT at random times, a restart without another LOAD each time."""
    bench = Bench(dut)
    await bench.begin()
    await bench.check_works(load=True)
    times = random.Random(cocotb.RANDOM_SEED)
    for _ in range(12):
        await bench.start_unfinished(times.randrange(bench.cycles))
        assert await bench.command(Command.ABORT) == Code.ABORTED
        await bench.check_works(load=False)


@cocotb.test()
async def aborted_loads_leave_no_program(dut):
    """ABORT within a LOAD: START refuses until a whole program has been loaded."""
    bench = Bench(dut)
    await bench.begin()
    for cycles in (5, 60, 200):
        await bench.start_unfinished(cycles, Command.LOAD)
        assert await bench.command(Command.ABORT) == Code.ABORTED
        assert await bench.command(Command.START) == Code.NOT_LOADED
    await bench.check_works(load=True)


@cocotb.test()
async def memory_errors_are_reported(dut):
    """A failing word of the program, an image or the output ends the command with BUS_ERROR."""
    bench = Bench(dut)
    await bench.begin()
    await bench.check_works(load=True)
    for register, command in (
        ("INPUT", Command.START),
        ("OUTPUT", Command.START),
        ("PROGRAM", Command.LOAD),
    ):
        bench.memory.errors = {bench.registers[register]}
        assert await bench.command(command) == Code.BUS_ERROR, register
        bench.memory.errors = set()
        await bench.check_works(load=command == Command.LOAD)


@cocotb.test()
async def silence_ends_in_a_timeout(dut):
    """A memory that does not answer: the code stands before it does, a restart works behind it."""
    bench = Bench(dut)
    await bench.begin()
    await bench.check_works(load=True)
    bench.memory.latency = 3 * WATCHDOG
    await bench.start_unfinished(2 * WATCHDOG)
    assert await bench.driver.code() == Code.TIMEOUT
    assert await bench.state() == State.DRAINING
    await ClockCycles(dut.clk, 2 * WATCHDOG)
    assert await bench.state() == State.IDLE
    bench.memory.latency = 32
    await bench.check_works(load=False)


@cocotb.test()
async def busy_refuses(dut):
    """LOAD and START while running are refused and disturb nothing."""
    bench = Bench(dut)
    await bench.begin()
    assert await bench.command(Command.LOAD) == Code.OK
    await bench.start_unfinished(100)
    for command in (Command.LOAD, Command.START):
        await bench.driver.write("COMMAND", command)
        await ClockCycles(dut.clk, 4)
        assert await bench.driver.read("STATUS") >> 14 & 1
        assert await bench.state() == State.RUNNING
    while not dut.interrupt.value:
        await ClockCycles(dut.clk, 10)
    assert await bench.driver.code() == Code.OK
    first = bench.registers["OUTPUT"]
    assert bench.memory.content[first : first + len(bench.expected)] == bench.expected
