"""What any memory controller must do, whatever its chip: parts of its benches."""

from cocotb.triggers import ClockCycles, RisingEdge
from cocotb.utils import get_sim_time

from penstock.config import BURST_BEATS
from penstock.sim.memory_traffic import BLOCK, Memory
from penstock.sim.streams import CLOCK_PERIOD, StreamMonitor


def cycle() -> int:
    """The number of the present one."""
    return round(get_sim_time("ns")) // CLOCK_PERIOD


async def quiet(memory: Memory):
    """Some time later nothing more has come."""
    await ClockCycles(memory.dut.clk, 60)
    memory.check()
    assert len(memory.data.words) == len(memory.expected)
    assert len(memory.done.words) == len(memory.failing)


async def write_blocks(memory: Memory, blocks):
    """Write blocks whole, wait for it."""
    for block in blocks:
        memory.write(block, BURST_BEATS)
    await memory.finished()


async def random_parts(memory: Memory):
    """Rounds of reads and writes of different blocks, both under way at once."""
    blocks = memory.blocks(20)
    await write_blocks(memory, blocks)
    for _ in range(6):
        memory.random.shuffle(blocks)
        requests = [(k % 2, *memory.part(block)) for k, block in enumerate(blocks)]
        for is_write, address, beats in requests:
            (memory.write if is_write else memory.read)(address, beats)
        await memory.finished()
    for block in blocks:
        memory.read(block, BURST_BEATS)
    await memory.finished()
    await quiet(memory)


async def neighbours(memory: Memory):
    """Two blocks whose addresses differ in one bit, one right after the other."""
    block = memory.blocks(1)[0]
    others = [block ^ bit for bit in memory.block_bits()]
    for other in others:
        for place in (block, other, block):
            memory.write(place, 2)
    await memory.finished()
    for other in others:
        for place in (block, other, block):
            memory.read(place, 2)
    await memory.finished()
    await quiet(memory)


async def read_what_is_done(memory: Memory):
    """A read of the same place is offered in the cycle after done; the place is written again."""
    blocks = memory.blocks(4)
    for _ in range(30):
        address, beats = memory.part(memory.random.choice(blocks))
        memory.write(address, beats)
        await memory.done.wait_for(len(memory.failing))
        memory.read(address, beats)
        await memory.finished()
    await quiet(memory)


async def outside_among_others(memory: Memory):
    """Requests beyond the chip among others: as many error beats, one done, no byte changed."""
    inside = memory.blocks(6)
    beyond = [1 << bit for bit in range((memory.size - 1).bit_length(), 32)]
    await write_blocks(memory, inside)
    for _ in range(40):
        block = memory.random.choice(inside)
        bit = memory.random.choice([0, 0, *beyond])
        memory.read(block + bit, memory.random.randint(1, 20))
        if bit:
            block = memory.random.choice(inside)
            memory.write(block + bit, memory.random.randint(1, 20))
    await memory.finished()
    await quiet(memory)


async def equal_turns(memory: Memory):
    """While both sides ask without a pause, each is served one request in two."""
    count = 24
    await write_blocks(memory, range(0, count * BLOCK, BLOCK))
    first = len(memory.done.words)
    for index in range(count):
        memory.write(memory.size - (1 + index) * BLOCK, BURST_BEATS)
        memory.read(index * BLOCK, BURST_BEATS)
    while len(memory.data.words) < count * BURST_BEATS:
        await ClockCycles(memory.dut.clk, 50)
        reads = len(memory.data.words) / BURST_BEATS
        writes = len(memory.done.words) - first
        assert abs(reads - writes) < 2.2, f"{reads} reads and {writes} writes"
    await memory.finished()
    await quiet(memory)


async def no_side_waits(memory: Memory, cycles: int):
    """Read data are refused, then write data do not come; the other side goes on.

    ``cycles``: what a request of BURST_BEATS may take.
    """
    await write_blocks(memory, range(0, 12 * BLOCK, BLOCK))
    memory.data.stalls = 1.0
    for index in range(6):
        memory.read(index * BLOCK, BURST_BEATS)
    await ClockCycles(memory.dut.clk, 2000)
    first = cycle()
    for index in range(6, 12):
        memory.write(index * BLOCK, BURST_BEATS)
    await memory.done.wait_for(len(memory.failing))
    assert cycle() - first < 6 * cycles, f"six writes took {cycle() - first} cycles"
    await ClockCycles(memory.dut.clk, 5_000)
    memory.data.stalls = 0.0
    await memory.finished()

    memory.words.stalls = 1.0
    memory.write(20 * BLOCK, BURST_BEATS)
    await ClockCycles(memory.dut.clk, 2000)
    first = cycle()
    for index in range(12):
        memory.read(index * BLOCK, BURST_BEATS)
    await memory.data.wait_for(len(memory.expected))
    assert cycle() - first < 12 * cycles, f"twelve reads took {cycle() - first} cycles"
    memory.words.stalls = 0.0
    memory.read(0, 1)
    await memory.finished()
    memory.read(20 * BLOCK, BURST_BEATS)
    await memory.finished()
    await quiet(memory)


async def short_traffic(memory: Memory):
    """Every kind of request, with stalls and without, and what was written read at full speed."""
    blocks = memory.blocks(10)
    await write_blocks(memory, blocks)
    for address, beats in (memory.part(block) for block in blocks):
        memory.read(address, beats)
    for block in range(memory.size, memory.size + 3 * BLOCK, BLOCK):
        memory.read(block, 3)
        memory.write(block, 2)
    await memory.finished()
    for source in (memory.reads, memory.writes, memory.words, memory.data):
        source.stalls = 0.0
    for block in blocks[::2]:
        memory.write(block, 1)
    for block in blocks[1::2]:
        memory.read(block, 5)
    await memory.finished()
    for block in blocks:
        memory.read(block, BURST_BEATS)
    await memory.finished()
    await quiet(memory)


async def cycles_of_stream(memory: Memory, requests: int, monitor: StreamMonitor, each: int):
    """Cycles of all but the first of some requests that wait at once, ``each`` answers of one."""
    await monitor.wait_for(each)
    begin = cycle()
    await monitor.wait_for(requests * each)
    return (cycle() - begin) / (requests - 1)


async def first_beat(memory: Memory, address: int) -> int:
    """Cycles from a read's offer to its first beat, some time after the last transaction."""
    await ClockCycles(memory.dut.clk, 2000)
    memory.read(address, 1)
    await RisingEdge(memory.dut.memory__read_request__valid)
    begin = cycle()
    await RisingEdge(memory.dut.memory__read_data__valid)
    taken = cycle() - begin
    await memory.finished()
    return taken
