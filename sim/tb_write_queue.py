"""Bench of the write queue: results and loaded words are written once, never over a read."""

import random
from collections import Counter, deque

import cocotb
from amaranth.lib import data
from cocotb.triggers import ClockCycles, RisingEdge

from penstock.config import BANKS
from penstock.hw.buffers import write_layout
from penstock.hw.layouts import bank_pointer_layout, bank_word_layout, result_layout
from penstock.hw.write_queue import DECISION_LATENCY, WriteQueue
from penstock.sim.runner import bench_config
from penstock.sim.streams import StreamSink, StreamSource, pack, payload_layout, start_clock, unpack


class Bench:
    """Drives groups of results and residual reads, and watches the writes."""

    def __init__(self, dut, *, idle: float, stalls: float, reading: float):
        self.dut, self.cfg = dut, bench_config()
        self.idle, self.reading = idle, reading
        self.groups = deque()
        self.inside = deque()  # groups that were sent and are not written
        self.writes = Counter()  # (buffer, u, v, address, lane, value)
        self.expected = Counter()  # of the groups that are written, as `writes`
        self.sent = self.written = self.pooled = self.cycles = 0
        # Words that residuals are read from, in the cycle of the writes and in those to come.
        self.read = deque([set()] * DECISION_LATENCY)
        self.load = StreamSource(
            dut, "writes__load", bank_word_layout(self.cfg), stalls=stalls, seed=5
        )
        word = payload_layout(WriteQueue(self.cfg).signature.members["word"].signature)
        self.words = StreamSink(dut, "writes__word", word, stalls=stalls, seed=6)
        dut.writes__i__valid.value = 0
        dut.writes__residual_reading.value = 0
        cocotb.start_soon(self._drive())

    async def _drive(self):
        dut, cfg, edge = self.dut, self.cfg, RisingEdge(self.dut.clk)
        pointers = data.ArrayLayout(bank_pointer_layout(), cfg.rows)
        while True:
            room = cfg.write_groups - self.sent + self.written + self.pooled
            send = self.groups and room > 0 and random.random() >= self.idle
            if send:
                self.sent += 1
                self.inside.append(self.groups.popleft())
                dut.writes__i__payload.value = pack(result_layout(cfg), self.inside[-1])
            dut.writes__i__valid.value = bool(send)
            reading = random.random() < self.reading
            reads = [random_pointer() for _ in range(cfg.rows)]
            buffer = random.getrandbits(1)
            dut.writes__residual_reading.value = reading
            dut.writes__residual_buffer.value = buffer
            dut.writes__residual.value = pack(pointers, reads)
            await edge
            self._watch({(buffer, *pointer.values()) for pointer in reads} if reading else set())

    def _watch(self, read_then: set):
        dut, cfg = self.dut, self.cfg
        read = self.read.popleft()
        self.read.append(read_then)
        if dut.rst.value:
            return
        self.cycles += 1
        writes = unpack(write_layout(cfg), int(dut.writes__write.value))
        for bank in range(BANKS):
            write = writes["banks"][bank]
            if not write["enable"]:
                continue
            place = (writes["buffer"], bank // 3, bank % 3, write["address"])
            assert place not in read, f"{place} was read as a residual in the cycle of its write"
            for lane in range(cfg.word):
                if writes["mask"] >> lane & 1:
                    loaded = writes["loaded"] >> 8 * lane & 0xFF
                    value = loaded if writes["load"] else write["value"]
                    self.writes[(*place, lane, value)] += 1
        self._count_groups()

    def _count_groups(self):
        """A group that is told to be written is: the layer may end with it."""
        written, pooled = int(self.dut.writes__written.value), int(self.dut.writes__pooled.value)
        self.written += written
        self.pooled += pooled
        if written + pooled:
            group = self.inside.popleft()
            assert group["pooled"] == pooled
            self.expected += writes_of([group], [], self.cfg)
            assert self.expected <= self.writes, "a group must be written when it is told to be"


def random_pointer() -> dict:
    """Few addresses, so that writes meet reads."""
    return {"u": random.randrange(3), "v": random.randrange(3), "address": random.randrange(4)}


def random_group(cfg, *, distinct: bool = False, pooled: float = 0.1) -> dict:
    """Results of one group, in random banks, or each in its own."""
    banks = random.sample(range(9), cfg.rows) if distinct else random.choices(range(9), k=cfg.rows)
    rows = [
        {
            "valid": distinct or random.random() < 0.8,
            "pointer": {"u": bank // 3, "v": bank % 3, "address": random.randrange(4)},
            "value": random.getrandbits(8),
        }
        for bank in banks
    ]
    return {
        "rows": rows,
        "lane": random.randrange(cfg.word),
        "buffer": random.getrandbits(1),
        "raw": 0,
        "last": 0,
        "word": 0,
        "pooled": random.random() < pooled,
    }


def random_word(cfg) -> dict:
    """A word of the next image; its place is free, so neither results nor residuals are there."""
    place = {**random_pointer(), "address": random.randrange(4, 2048)}
    return {**place, "buffer": random.getrandbits(1), "data": random.getrandbits(8 * cfg.word)}


def raw_group(cfg, word: int, last: bool) -> dict:
    """One class of a classifier: its first row goes to memory."""
    group = random_group(cfg, pooled=0)
    group["rows"][0]["valid"] = 1
    for row in group["rows"][1:]:
        row["valid"] = 0
    return {**group, "raw": 1, "last": last, "word": word}


def writes_of(groups: list[dict], words: list[dict], cfg) -> Counter:
    """All channel writes that groups of results and loaded words must cause."""
    expected = Counter()
    for group in groups:
        for row in group["rows"]:
            if row["valid"] and not group["raw"]:
                place = group["buffer"], *row["pointer"].values()
                expected[(*place, group["lane"], row["value"])] += 1
    for word in words:
        place = word["buffer"], word["u"], word["v"], word["address"]
        for lane in range(cfg.word):
            expected[(*place, lane, word["data"] >> 8 * lane & 0xFF)] += 1
    return expected


@cocotb.test(timeout_time=60, timeout_unit="us")
@cocotb.parametrize(idle=[0.0, 0.6], stalls=[0.0, 0.5], reading=[0.0, 0.9])
async def everything_is_written_once(dut, idle, stalls, reading):
    """Results in random banks, pooled ones, a classifier's words and loaded words, all at once."""
    bench = Bench(dut, idle=idle, stalls=stalls, reading=reading)
    cfg = bench.cfg
    await start_clock(dut)
    words = [random_word(cfg) for _ in range(100)]
    groups = [random_group(cfg) for _ in range(250)]
    classes = [random.randrange(-(2**31), 2**31) for _ in range(20)]
    groups += [raw_group(cfg, word, index == 19) for index, word in enumerate(classes)]
    groups += [random_group(cfg) for _ in range(50)]
    bench.groups.extend(groups)
    bench.load.send(*words)
    await bench.load.drained()
    await bench.words.wait_for(len(classes))
    while bench.groups or bench.written + bench.pooled < len(groups):
        await RisingEdge(dut.clk)
    await ClockCycles(dut.clk, 20)
    assert bench.writes == writes_of(groups, words, cfg)
    assert [word["data"] for word in bench.words.words] == classes
    assert [word["last"] for word in bench.words.words] == [0] * 19 + [1]
    pooled = sum(group["pooled"] for group in groups)
    assert (bench.written, bench.pooled) == (len(groups) - pooled, pooled)


@cocotb.test(timeout_time=60, timeout_unit="us")
async def a_group_a_cycle(dut):
    """Groups whose results lie in distinct banks leave in one cycle each."""
    bench = Bench(dut, idle=0.0, stalls=0.0, reading=0.0)
    await start_clock(dut)
    groups = [random_group(bench.cfg, distinct=True, pooled=0) for _ in range(200)]
    bench.groups.extend(groups)
    start = bench.cycles
    while bench.written < len(groups):
        await RisingEdge(dut.clk)
    assert bench.cycles - start <= len(groups) + 6
    await ClockCycles(dut.clk, 2)
    assert bench.writes == writes_of(groups, [], bench.cfg)


@cocotb.test(timeout_time=60, timeout_unit="us")
async def one_bank_takes_a_cycle_each(dut):
    """Results that want one bank leave one a cycle, and only one group waits for them."""
    bench = Bench(dut, idle=0.0, stalls=0.0, reading=0.0)
    await start_clock(dut)
    groups = [random_group(bench.cfg, distinct=True, pooled=0) for _ in range(50)]
    for group in groups:
        for row in group["rows"]:
            row["pointer"] = {**group["rows"][0]["pointer"], "address": random.randrange(4)}
    bench.groups.extend(groups)
    start = bench.cycles
    while bench.written < len(groups):
        await RisingEdge(dut.clk)
    assert bench.cycles - start <= len(groups) * bench.cfg.rows + 6
    await ClockCycles(dut.clk, 2)
    assert bench.writes == writes_of(groups, [], bench.cfg)
