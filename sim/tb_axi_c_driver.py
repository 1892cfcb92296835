"""The C driver against the accelerator: its register accesses are AXI4-Lite transfers.

The library's functions run in a thread that cocotb stops the simulation for; each register access
of theirs is a transfer of cocotbext-axi, and time goes on meanwhile.
"""

import ctypes
import random

import cocotb
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles

from penstock.hw.control import COUNTERS
from penstock.registers import ADDRESS, Code
from penstock.sim.axi_bench import AxiBench
from penstock.sim.runner import bench_parameters

BASE = 0x4000_0000
POLLS = 200_000
WATCHDOG = 2000  # cycles, where the bus is dead
NOT_DONE, BUSY, DRAINING, WRONG_IDENTITY, WRONG_VERSION, WRONG_CONFIG = range(256, 262)

READ = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_size_t)
WRITE = ctypes.CFUNCTYPE(None, ctypes.c_size_t, ctypes.c_uint32)


class Device(ctypes.Structure):
    """struct penstock"""

    _fields_ = [("base", ctypes.c_size_t)]


class Run(ctypes.Structure):
    """struct penstock_run"""

    _fields_ = [
        (name, ctypes.c_uint32)
        for name in ("input", "input_stride", "output", "output_stride", "images", "gating")
    ]


class Counters(ctypes.Structure):
    """struct penstock_counters"""

    _fields_ = [("cycles", ctypes.c_uint64), *((name, ctypes.c_uint32) for name in COUNTERS)]


class Processor:
    """A processor that runs the driver; between two accesses it takes some cycles of its own.

    ``await processor.wait(3)`` is penstock_wait on its device. ``accesses``: how many were made.
    """

    def __init__(self, bench: AxiBench, library: str):
        self._bench = bench
        self._library = ctypes.CDLL(library)
        self._library.penstock_abort.restype = self._library.penstock_counters.restype = None
        self._library.penstock_code_text.restype = ctypes.c_char_p
        self._random = random.Random(cocotb.RANDOM_SEED)
        self._callbacks = READ(resume(self._read)), WRITE(resume(self._write))
        self._errors = []
        self._device = Device()
        self.accesses = 0
        self._library.connect(*self._callbacks)

    async def _read(self, address: int) -> int:
        try:
            await self._pause()
            answer = await self._bench.limited(self._bench.host.master.read(address - BASE, 4))
            assert answer.resp == 0, f"a read of {address:#x} must be OKAY, {answer.resp!r}"
            return int.from_bytes(answer.data, "little")
        except Exception as error:  # ctypes would only print it
            self._errors.append(error)
            return 0

    async def _write(self, address: int, value: int):
        try:
            await self._pause()
            data = value.to_bytes(4, "little")
            answer = await self._bench.limited(self._bench.host.master.write(address - BASE, data))
            assert answer.resp == 0, f"a write of {address:#x} must be OKAY, {answer.resp!r}"
        except Exception as error:
            self._errors.append(error)

    async def _pause(self):
        self.accesses += 1
        await ClockCycles(self._bench.dut.aclk, self._random.randint(1, 40))

    def __getattr__(self, name: str):
        function = getattr(self._library, f"penstock_{name}")

        return lambda *arguments: self._call(function, ctypes.byref(self._device), *arguments)

    async def _call(self, function, *arguments):
        """Run a function of the library while the simulation goes on for its accesses."""

        def in_its_thread():
            return function(*arguments)

        result = await bridge(in_its_thread)()
        assert not self._errors, self._errors
        return result

    async def application(self, program: int, run: Run, counters: Counters) -> int:
        """The C program of the test: its first code that is not OK, or OK."""
        structures = ctypes.byref(run), ctypes.byref(counters)
        function = self._library.application
        return await self._call(function, ctypes.c_size_t(BASE), program, *structures)

    def text(self, code: int) -> str:
        """penstock_code_text"""
        return self._library.penstock_code_text(code).decode()


def c_run(registers: dict[str, int]) -> Run:
    """What penstock_start takes, from a job's registers."""
    return Run(**{name: registers[name.upper()] for name, _ in Run._fields_})


@cocotb.test(timeout_time=30, timeout_unit="ms")
async def the_application_runs(dut):
    """A C program runs all images; memory holds the golden outputs, its counters are right."""
    bench = await AxiBench(dut).begin()
    processor = Processor(bench, bench_parameters()["library"])
    registers = bench.jobs[0].registers
    for gating in bench_parameters()["gating"]:
        bench.restore()
        run, counters = c_run(registers | {"GATING": gating}), Counters()
        assert await processor.application(registers["PROGRAM"], run, counters) == Code.OK
        bench.check_memory(GATING=gating)
        for name in COUNTERS:
            assert getattr(counters, name) == await bench.host.read(name.upper())
        assert counters.cycles == await bench.host.read("CYCLES")
        assert bool(counters.tasks) == bool(gating)
        assert await bench.host.read("IMAGE") == registers["IMAGES"]
    assert processor.accesses > 50


@cocotb.test(timeout_time=30, timeout_unit="ms", skip=not bench_parameters()["errors"])
async def errors_are_told(dut):
    """Each way in which the hardware refuses or stops, as the driver tells it; then a good run."""
    bench = await AxiBench(dut).begin()
    cpu = Processor(bench, bench_parameters()["library"])
    registers = bench.jobs[0].registers
    program, run = registers["PROGRAM"], c_run(registers)

    async def works(load: bool):
        bench.restore()
        if load:
            assert await cpu.load(program) == Code.OK
            assert await cpu.wait(POLLS) == Code.OK
        assert await cpu.run(ctypes.byref(run), POLLS) == Code.OK
        bench.check_memory()

    # Another device, another configuration.
    assert await cpu.open(ctypes.c_size_t(BASE + ADDRESS["CYCLES"])) == WRONG_IDENTITY
    other = Processor(bench, bench_parameters()["other_library"])
    assert await other.open(ctypes.c_size_t(BASE)) == WRONG_CONFIG
    assert await cpu.open(ctypes.c_size_t(BASE)) == Code.OK

    # Nothing loaded, a wrong program, a good one, wrong addresses.
    assert await cpu.start(ctypes.byref(run)) == Code.OK  # accepted; how it ends:
    assert await cpu.wait(1) == Code.NOT_LOADED
    for word, flip, code in bench_parameters()["corruptions"]:
        bench.memory.content[program + 8 * word] ^= flip
        assert await cpu.load(program) == Code.OK
        assert await cpu.wait(POLLS) == code and await cpu.done()
        assert cpu.text(code) != cpu.text(Code.OK)
        assert await cpu.run(ctypes.byref(run), POLLS) == Code.NOT_LOADED
        bench.restore()
    assert await cpu.load(program + 8) == Code.OK
    assert await cpu.wait(1) == Code.MISALIGNED
    await works(load=True)
    wrong = c_run(registers | {"OUTPUT_STRIDE": 8})
    assert await cpu.run(ctypes.byref(wrong), POLLS) == Code.MISALIGNED
    wrong = c_run(registers | {"IMAGES": 0})
    assert await cpu.run(ctypes.byref(wrong), POLLS) == Code.BAD_COMMAND
    wrong = c_run(registers | {"OUTPUT": 0x8000_0000})
    assert await cpu.run(ctypes.byref(wrong), POLLS) == Code.BUS_ERROR
    await works(load=False)

    # Busy, and not disturbed.
    bench.restore()
    assert await cpu.start(ctypes.byref(run)) == Code.OK
    assert await cpu.busy() and not await cpu.done()
    assert await cpu.wait(2) == NOT_DONE
    assert await cpu.load(program) == BUSY
    assert await cpu.start(ctypes.byref(wrong)) == BUSY
    assert await cpu.wait(POLLS) == Code.OK
    bench.check_memory()

    # An abort, a dead bus.
    assert await cpu.start(ctypes.byref(run)) == Code.OK
    await cpu.abort()
    assert await cpu.wait(POLLS) == Code.ABORTED
    await works(load=False)
    await bench.host.write("WATCHDOG", WATCHDOG)
    bench.memory.die("r")
    assert await cpu.run(ctypes.byref(run), POLLS) == Code.TIMEOUT
    assert await cpu.busy() and await cpu.done()
    assert await cpu.start(ctypes.byref(run)) == DRAINING
    assert await cpu.load(program) == DRAINING
    bench.memory.revive()
    while await cpu.busy():
        pass
    await works(load=False)
    await works(load=True)
    # Each of the driver's own codes has a text of its own.
    assert len({cpu.text(code) for code in range(WRONG_CONFIG + 2)}) == len(Code) + 6 + 1
