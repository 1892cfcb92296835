"""The accelerator under bad programs, aborts, bus errors and a dead bus, seen through AXI.

Every command ends in a code, every AXI transaction is completed, and the next program runs right,
all without a reset.
"""

import json
from collections import Counter
from pathlib import Path

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiResp

from penstock.registers import ALIGNMENT, WATCHDOG_RESET, Code, Command, State
from penstock.sim.axi_bench import LIMIT, AxiBench
from penstock.sim.axi_clients import reset
from penstock.sim.runner import bench_parameters

WATCHDOG = 600  # cycles, longer than any pause of a bus that lives
WORD_BYTES = 8
DEAD = (
    ("aw", "w", "b", "ar", "r"),
    ("ar",),
    ("r",),
    ("aw",),
    ("w",),
    ("b",),
    ("aw", "w"),
    ("r", "b"),
)
"""Channels that a bus may stop answering on; with each of these sets LOAD or START needs one."""

bounded_test = cocotb.test(timeout_time=15, timeout_unit="ms")


async def measure(bench: AxiBench) -> tuple[int, int]:
    """Cycles of LOAD and START of the registers' job, from accepted command to interrupt."""
    cycles = []
    for command in (Command.LOAD, Command.START):
        await bench.begin_command(command, 1)
        waited = 1
        while not bench.dut.interrupt.value:
            await ClockCycles(bench.dut.aclk, 1)
            waited += 1
        cycles.append(waited)
        assert await bench.host.code() == Code.OK
    return cycles[0], cycles[1]


@bounded_test
async def every_code_is_reached(dut):
    """Each status code, from the command that it belongs to; the good program runs behind each."""
    bench = await AxiBench(dut).begin()
    host, memory = bench.host, bench.memory
    reached = {}

    async def reach(code: Code, command: Command, *, load: bool, note: str):
        assert await bench.command(command) == code, note
        assert await host.state() == State.IDLE
        reached.setdefault(code.name, []).append(f"{command.name}: {note}")
        memory.errors = {}
        await bench.set()
        await bench.check_works(load=load)

    start = bench.jobs[0].registers
    assert await host.read("WATCHDOG") == start["WATCHDOG"] != WATCHDOG_RESET
    assert await bench.command(Command.START) == Code.NOT_LOADED
    await reach(Code.OK, Command.LOAD, load=False, note="good program")
    await reach(Code.OK, Command.START, load=False, note="good program")
    for word, flip, code in bench_parameters()["corruptions"]:
        flip_bits(bench, word, flip)
        assert await bench.command(Command.LOAD) == code, f"word {word} ^ {flip:#x}"
        assert not (await host.status())["loaded"]
        await reach(Code.NOT_LOADED, Command.START, load=True, note=f"behind {Code(code).name}")
        flip_bits(bench, word, flip)
        await reach(Code(code), Command.LOAD, load=True, note=f"word {word} ^ {flip:#x}")
    await reach(Code.ABORTED, Command.ABORT, load=False, note="while idle")
    for command, register in ((Command.LOAD, "PROGRAM"), (Command.START, "INPUT")):
        for response in (AxiResp.SLVERR, AxiResp.DECERR):
            memory.errors = {start[register]: response}
            load, note = command == Command.LOAD, f"{response.name} to {register}"
            await reach(Code.BUS_ERROR, command, load=load, note=note)
    memory.errors = {start["OUTPUT"]: AxiResp.SLVERR}
    await reach(Code.BUS_ERROR, Command.START, load=False, note="SLVERR to OUTPUT")
    for value in (0, 4, 5, 0x100 | Command.START, 1 << 31 | Command.LOAD, 0xFFFFFFFF):
        await host.write("COMMAND", value)
        assert await host.code() == Code.BAD_COMMAND, f"{value:#x}"
        await bench.check_works(load=False)
    await bench.set(IMAGES=0)
    await reach(Code.BAD_COMMAND, Command.START, load=False, note="IMAGES 0")
    for name in ("INPUT", "INPUT_STRIDE", "OUTPUT", "OUTPUT_STRIDE", "PROGRAM"):
        for offset in (1, 8, ALIGNMENT // 2):
            await bench.set(**{name: start[name] + offset})
            command = Command.LOAD if name == "PROGRAM" else Command.START
            beats = dict(bench.checker.bursts)
            assert await bench.command(command) == Code.MISALIGNED, name
            assert bench.checker.bursts == beats
            assert (await host.status())["loaded"] == (name != "PROGRAM")
            note = f"{name} + {offset}"
            await reach(Code.MISALIGNED, command, load=name == "PROGRAM", note=note)
    for command in (Command.LOAD, Command.START):
        await bench.set(WATCHDOG=WATCHDOG)
        memory.die("r")
        bench_revives = cocotb.start_soon(revive_later(bench, 2 * WATCHDOG))
        await reach_timeout(bench, command)
        await bench_revives
        reached.setdefault(Code.TIMEOUT.name, []).append(f"{command.name}: no read data")
        await bench.set()
        await bench.check_works(load=True)
    assert set(reached) == {code.name for code in Code}
    Path("codes.json").write_text(json.dumps(reached, indent=1))


async def revive_later(bench: AxiBench, cycles: int):
    await ClockCycles(bench.dut.aclk, cycles)
    bench.memory.revive()


async def reach_timeout(bench: AxiBench, command: Command):
    """The code stands before the bus answers; the interrupt comes when it does, or before."""
    await bench.begin_command(command, WATCHDOG + WATCHDOG // 2)
    status = await bench.host.status()
    assert status["code"] == Code.TIMEOUT and status["state"] == State.DRAINING
    await bench.host.ended(LIMIT)
    await bench.until_idle()
    assert await bench.host.code() == Code.TIMEOUT
    assert bench.checker.idle


def flip_bits(bench: AxiBench, word: int, flip: int):
    """Flip bits of one 64-bit word of the program in memory."""
    address = bench.jobs[0].registers["PROGRAM"] + WORD_BYTES * word
    content = bench.memory.content
    value = int.from_bytes(content[address : address + WORD_BYTES], "little") ^ flip
    content[address : address + WORD_BYTES] = value.to_bytes(WORD_BYTES, "little")


@bounded_test
async def programs_follow_one_another(dut):
    """Several programs, loaded in turns; starts of several images, with gating on and off."""
    bench = await AxiBench(dut).begin()
    rng = bench.random
    order = [*range(len(bench.jobs))] * 2
    rng.shuffle(order)
    for job in order:
        await bench.check_works(job, load=True)
        start = bench.jobs[job].registers
        for _ in range(3):
            changes = {"GATING": rng.getrandbits(1), "IMAGES": rng.randint(1, start["IMAGES"])}
            await bench.set(job, **changes)
            bench.restore()
            assert await bench.command(Command.START) == Code.OK
            bench.check_memory(job, **changes)
            assert await bench.host.read("IMAGE") == changes["IMAGES"]
    assert bench.checker.bursts["aw"] > len(order)


@bounded_test
async def settings_are_taken_along(dut):
    """What is written to registers while a command runs has no effect on it."""
    bench = await AxiBench(dut).begin()
    names = ("PROGRAM", "INPUT", "INPUT_STRIDE", "OUTPUT", "OUTPUT_STRIDE", "IMAGES", "GATING")
    for command in (Command.LOAD, Command.START):
        bench.restore()
        await bench.begin_command(command, 5)
        for name in names:
            await bench.host.write(name, bench.random.getrandbits(32))
        await bench.host.ended(LIMIT)
        assert await bench.host.code() == Code.OK
        await bench.set()
    bench.check_memory()


@bounded_test
async def aborted_loads_leave_no_program(dut):
    """ABORT at any time of a LOAD, at each cycle of its end too; a whole LOAD works behind."""
    bench = await AxiBench(dut).begin()
    bench.at_full_speed()  # so that the end comes at one time
    load, _ = await measure(bench)
    random_times = [bench.random.randrange(load - 20) for _ in range(25)]
    for cycles in (*random_times, *range(load - 20, load + 2)):
        ended = await abort_amid(bench, Command.LOAD, cycles)
        assert ended is False or cycles >= load - 20
        assert (await bench.host.status())["loaded"] == ended, f"{load - cycles} before the end"
        if not ended:
            assert await bench.command(Command.START) == Code.NOT_LOADED
    assert ended
    await bench.check_works(load=True)


@bounded_test
async def aborted_runs_restart(dut):
    """ABORT at any time of a START, at each cycle of its end too; the next START is right."""
    bench = await AxiBench(dut).begin()
    for job in range(len(bench.jobs)):
        bench.stall()
        await bench.check_works(job, load=True)
        run = await bench.host.read("CYCLES")
        for _ in range(8):
            await abort_amid(bench, Command.START, bench.random.randrange(run))
            await bench.check_works(job, load=False)
        bench.at_full_speed()
        _, run = await measure(bench)
        ends = [await abort_amid(bench, Command.START, run - 15 + n) for n in range(17)]
        assert ends == sorted(ends) and set(ends) == {False, True}
        await bench.check_works(job, load=False)


async def abort_amid(bench: AxiBench, command: Command, cycles: int) -> bool:
    """ABORT so many cycles behind a command; whether that had ended when ABORT was executed."""
    dut = bench.dut
    await bench.begin_command(command, cycles)
    abort = cocotb.start_soon(bench.host.write("COMMAND", Command.ABORT))
    edge = RisingEdge(dut.aclk)
    await edge
    while not (dut.s_axil_wvalid.value and dut.s_axil_wready.value):
        await edge
    await ClockCycles(dut.aclk, 2)  # of the write, and to what it does
    ended = bool(dut.interrupt.value)
    await abort
    await bench.host.ended(LIMIT)
    status = await bench.host.status()
    assert status["code"] == Code.ABORTED
    assert status["state"] == State.IDLE and bench.checker.idle
    return ended


@bounded_test
async def bus_errors_are_reported(dut):
    """SLVERR and DECERR at random beats of program, images, outputs and streamed weights.

    Then all works again.
    """
    bench = await AxiBench(dut).begin()
    memory, start = bench.memory, bench.jobs[0].registers
    await bench.check_works(load=True)
    outputs = [
        start["OUTPUT"] + image * start["OUTPUT_STRIDE"] + offset
        for image in range(start["IMAGES"])
        for offset in range(0, len(bench.jobs[0].expected[1][0]), WORD_BYTES)
    ]
    inputs = [
        start["INPUT"] + image * start["INPUT_STRIDE"] + offset
        for image in range(start["IMAGES"])
        for offset in range(0, bench_parameters()["input_bytes"], WORD_BYTES)
    ]
    program = range(start["PROGRAM"], start["PROGRAM"] + bench.jobs[0].program_bytes, WORD_BYTES)
    weights = program[len(program) - bench_parameters()["weight_words"] :]
    for places, command in (
        (program, Command.LOAD),
        (weights, Command.START),
        (inputs, Command.START),
        (outputs, Command.START),
    ):
        for response in (AxiResp.SLVERR, AxiResp.DECERR):
            for address in bench.random.sample(list(places), min(5, len(places))):
                memory.errors = {address: response}
                assert await bench.command(command) == Code.BUS_ERROR, f"{address:#x}"
                assert await bench.host.state() == State.IDLE
                assert (await bench.host.status())["loaded"] == (command == Command.START)
                memory.errors = {}
                await bench.check_works(load=command == Command.LOAD)
    end = len(memory.content)
    for name, command in (
        ("PROGRAM", Command.LOAD),
        ("INPUT", Command.START),
        ("OUTPUT", Command.START),
    ):
        for address in (end, -(-end // 0x1000) * 0x1000, 0xFFFF0000, 0xFFFFFFC0):
            await bench.set(**{name: -(-address // ALIGNMENT) * ALIGNMENT})
            assert await bench.command(command) == Code.BUS_ERROR, f"{name} {address:#x}"
            await bench.set()
            await bench.check_works(load=command == Command.LOAD)


@bounded_test
async def a_dead_bus_ends_in_a_timeout(dut):
    """Whatever the bus stops doing, at any time: TIMEOUT, interrupt, and recovery by itself."""
    bench = await AxiBench(dut).begin()
    load, start = await measure(bench)
    codes = Counter()
    for channels in DEAD:
        for command, run in ((Command.LOAD, load), (Command.START, start)):
            for cycles in (0, bench.random.randrange(run)):
                await bench.set(WATCHDOG=WATCHDOG)
                codes[await die_amid(bench, command, cycles, channels)] += 1
                await bench.set()
                await bench.check_works(load=True)
    assert codes[Code.TIMEOUT] >= 12 and set(codes) == {Code.OK, Code.TIMEOUT}


async def die_amid(
    bench: AxiBench, command: Command, cycles: int, channels: tuple[str, ...]
) -> Code:
    """The bus stops so many cycles behind the command; OK only where nothing was needed of it."""
    host = bench.host
    if not cycles:
        bench.memory.die(*channels)
    await bench.begin_command(command, cycles)
    bench.memory.die(*channels)
    await bench.host.ended(LIMIT)  # by the interrupt
    status = await host.status()
    if status["code"] == Code.OK:
        bench.memory.revive()
        return Code.OK
    assert status["code"] == Code.TIMEOUT
    if status["state"] == State.DRAINING:
        for refused in (Command.START, Command.LOAD):
            await host.write("COMMAND", refused)
            assert await bench.refused()
            assert await host.state() == State.DRAINING and bench.dut.interrupt.value
        await host.write("COMMAND", Command.ABORT)
        assert await host.code() == Code.TIMEOUT
        await ClockCycles(bench.dut.aclk, WATCHDOG)
        assert await host.state() == State.DRAINING
    bench.memory.revive()
    await bench.until_idle()
    status = await host.status()
    assert status["code"] == Code.TIMEOUT and status["done"]
    assert bench.checker.idle
    return Code.TIMEOUT


@bounded_test
async def an_abort_on_a_dead_bus_ends(dut):
    """With the watchdog by TIMEOUT; without it when the bus answers, by ABORTED."""
    bench = await AxiBench(dut).begin()
    load, start = await measure(bench)
    for command, run in ((Command.LOAD, load), (Command.START, start)):
        for watchdog in (WATCHDOG, 0):
            await bench.set(WATCHDOG=watchdog)
            bench.memory.die("r")
            await bench.begin_command(command, bench.random.randrange(min(run, WATCHDOG) // 2))
            await bench.host.write("COMMAND", Command.ABORT)
            status = await bench.host.status()
            assert (status["code"], status["state"]) == (Code.ABORTED, State.DRAINING)
            assert not status["done"]
            await ClockCycles(dut.aclk, 3 * WATCHDOG)
            status = await bench.host.status()
            assert status["state"] == State.DRAINING
            assert status["done"] == dut.interrupt.value == bool(watchdog)
            wanted = Code.TIMEOUT if watchdog else Code.ABORTED
            assert status["code"] == wanted
            bench.memory.revive()
            await bench.host.ended(LIMIT)
            await ClockCycles(dut.aclk, 400)
            status = await bench.host.status()
            assert (status["code"], status["state"]) == (wanted, State.IDLE)
            await bench.set()
            await bench.check_works(load=True)


@bounded_test
async def any_watchdog_ends(dut):
    """WATCHDOG shorter than the pauses of a bus that lives: TIMEOUT or OK, and all works again."""
    bench = await AxiBench(dut).begin()
    bench.memory.latency = (0, 60)
    codes = set()
    for watchdog in (1, 2, 3, 5, 8, 13, 20, 30, 45, 60, 75, 90, 200):
        for command in (Command.LOAD, Command.START):
            await bench.set(WATCHDOG=watchdog)
            codes.add(await bench.host.command(command, timeout=LIMIT))
            assert codes <= {Code.OK, Code.TIMEOUT}
            await bench.until_idle()
            await bench.set()
            await bench.check_works(load=True)
    assert codes == {Code.OK, Code.TIMEOUT}


@bounded_test
async def computing_is_progress(dut):
    """A bus that is silent for longer than WATCHDOG while the array works: no TIMEOUT."""
    bench = await AxiBench(dut).begin()
    bench.at_full_speed()
    silences = []
    for job in range(len(bench.jobs)):
        await bench.set(job, IMAGES=1)
        assert await bench.command(Command.LOAD) == Code.OK
        silences.append(await longest_silence(bench))
    job = silences.index(max(silences))
    watchdog = max(silences) // 2  # much of a silence is steps, and no pause is as long
    assert watchdog > 100
    await bench.check_works(job, load=True, IMAGES=1, WATCHDOG=watchdog)


async def longest_silence(bench: AxiBench) -> int:
    """START; the most cycles in a row in which no data moved on the bus, either way."""
    dut = bench.dut
    await bench.host.write("COMMAND", Command.START)
    longest = silent = 0
    while not dut.interrupt.value:
        await RisingEdge(dut.aclk)
        moved = any(dut_is(dut, f"m_axi_{c}valid", f"m_axi_{c}ready") for c in "rw")
        silent = 0 if moved else silent + 1
        longest = max(longest, silent)
    assert await bench.host.code() == Code.OK
    return longest


def dut_is(dut, *names: str) -> bool:
    """Whether all these signals are high."""
    return all(int(getattr(dut, name).value) for name in names)


@bounded_test
async def busy_refuses(dut):
    """LOAD and START while one of them runs are refused and disturb nothing; other numbers too."""
    bench = await AxiBench(dut).begin()
    for command, state in ((Command.LOAD, State.LOADING), (Command.START, State.RUNNING)):
        bench.restore()
        await bench.begin_command(command, 20)
        for value in (Command.LOAD, Command.START, 0, 77):
            await bench.host.write("COMMAND", value)
            status = await bench.host.status()
            assert status["refused"] and status["state"] == state and not status["done"]
            assert status["code"] == Code.OK
        await bench.host.ended(LIMIT)
        status = await bench.host.status()
        assert status["code"] == Code.OK and status["refused"] and status["loaded"]
    bench.check_memory()
    await bench.check_works(load=True)
    assert not await bench.refused()


@bounded_test
async def a_reset_amid_transfers(dut):
    """A reset of both sides at random times of LOAD and START; registers as after power-up."""
    bench = await AxiBench(dut).begin()
    load, start = await measure(bench)
    for command, run in ((Command.LOAD, load), (Command.START, start)) * 3:
        await bench.set()
        assert await bench.command(Command.LOAD) == Code.OK
        await bench.begin_command(command, bench.random.randrange(run))
        await reset(dut)
        bench.checker.restart()  # a transfer may have come in the cycle before the reset
        assert await bench.host.read("WATCHDOG") == WATCHDOG_RESET
        assert await bench.host.read("STATUS") == 0 and await bench.host.read("INPUT") == 0
        assert not dut.interrupt.value
        assert await bench.command(Command.START) == Code.NOT_LOADED
        await bench.check_works(load=True)


@bounded_test
async def data_first(dut):
    """A memory that takes the address of a write only behind its data."""
    bench = await AxiBench(dut).begin()
    bench.memory.data_first = True
    for job in range(len(bench.jobs)):
        await bench.check_works(job, load=True)
