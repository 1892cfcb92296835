"""Bench of the compact engine's blocks, each against what it should compute."""

import random

import cocotb
import numpy as np
from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from cocotb.triggers import ReadOnly, RisingEdge

from penstock.channel_stream import WINDOW
from penstock.hw.compact.layouts import fields_layout
from penstock.hw.compact.maps import write_layout
from penstock.hw.compact.requantizer import LATENCY
from penstock.hw.compact.results import ResultWriter
from penstock.hw.compact.window import place_layout
from penstock.sim.compact_blocks import ADDERS, TARGETS
from penstock.sim.pipelines import Pipeline
from penstock.sim.streams import StreamSink, StreamSource, pack, payload_layout, start_clock

VECTORS = 400
BLOCK = 8  # beats


def random_number(bits: int) -> int:
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    return random.choice([low, high, 0, -1, 1, random.randint(low, high)])


@cocotb.test(timeout_time=100, timeout_unit="us")
@cocotb.parametrize(target=list(TARGETS))
async def products_are_exact(dut, target):
    """Unsigned times signed, random and extreme, two a cycle."""
    shapes = {"left": data.ArrayLayout(8, 2), "right": data.ArrayLayout(signed(8), 2)}
    pipeline = Pipeline(
        dut,
        f"dual_{target}",
        {name: (shape, 0) for name, shape in shapes.items()},
        {"o": data.ArrayLayout(signed(16), 2)},
    )
    await start_clock(dut)
    vectors = [
        {
            "left": [random_number(8) & 0xFF for _ in range(2)],
            "right": [random_number(8) for _ in range(2)],
        }
        for _ in range(VECTORS)
    ]
    results = await pipeline.run(vectors, 1)
    assert [result["o"] for result in results] == [
        [a * b for a, b in zip(v["left"], v["right"], strict=True)] for v in vectors
    ]


@cocotb.test(timeout_time=100, timeout_unit="us")
@cocotb.parametrize(use=list(ADDERS), target=list(TARGETS))
async def products_are_added(dut, use, target):
    """The product one cycle late, held operands only when they are loaded, 32 bits that wrap."""
    held = ADDERS[use]
    widths = {"left": 16, "right": 16, "addend": 32, "load_left": 1, "load_low": 1, "load_high": 1}
    ports = {name: getattr(dut, f"{use}_{target}__{name}") for name in widths}
    output = getattr(dut, f"{use}_{target}__o")
    await start_clock(dut)
    left = right = low = high = 0
    product = None
    for cycle in range(VECTORS):
        loads = cycle < 4  # what is held has been loaded once
        now = {name: random_number(bits) for name, bits in widths.items() if bits > 1}
        now |= {name: int(loads or random.random() < 0.2) for name in widths if "load" in name}
        for name, value in now.items():
            ports[name].value = value & (1 << widths[name]) - 1
        await ReadOnly()
        addend = (high << 16 | low) if held.get("holds_addend") else now["addend"]
        if product is not None and cycle > 8:
            assert int(output.value) == (product + addend) & 0xFFFFFFFF, (cycle, now)
        await RisingEdge(dut.clk)
        product = (left if held.get("holds_left") else now["left"]) * (
            right if held.get("registers_right") else now["right"]
        )
        right = now["right"]
        left = now["left"] if now["load_left"] else left
        low = now["addend"] & 0xFFFF if now["load_low"] else low
        high = now["addend"] >> 16 & 0xFFFF if now["load_high"] else high


@cocotb.test(timeout_time=4000, timeout_unit="us")
@cocotb.parametrize(target=list(TARGETS))
async def requantization_is_exact(dut, target):
    """Random constants of layer and channel; sums random, extreme, and at rounding ties."""
    name = f"requantizer_{target}"

    def port(signal):
        return getattr(dut, f"{name}__{signal}")

    pipeline = Pipeline(
        dut,
        name,
        {"sum": (signed(24), 1), "residual": (signed(9), 0)},
        {"value": unsigned(8)},
    )
    port("valid").value = 1
    await start_clock(dut)
    for _ in range(40):
        shift, is_signed = random.choice([1, 7, 8, 15, 16, 23, 31]), random.random() < 0.5
        relu = random.random() < 0.5
        multiplier, residual_multiplier = random_number(16), random_number(16)
        bias = random.choice([-(2**30), 2**30 - 1, 0, random.randint(-(2**20), 2**20)])
        rounding = 1 << shift - 1
        constants = (multiplier, bias & 0xFFFF, bias >> 16 & 0xFFFF)
        constants += (residual_multiplier, rounding & 0xFFFF, rounding >> 16)
        for index, value in enumerate(constants):
            port("word").value = value & 0xFFFF
            port("load").value = 1 << index
            await RisingEdge(dut.clk)
        port("load").value = 0
        for signal, value in (
            *(("shift", shift), ("output_signed", int(is_signed)), ("relu_before_add", int(relu))),
        ):
            port(signal).value = value
        vectors = [
            {"sum": random_sum(shift, multiplier, bias), "residual": random_number(9)}
            for _ in range(30)
        ]
        results = await pipeline.run(vectors, LATENCY + 1)
        low, high = (-128, 127) if is_signed else (0, 255)
        sums, residuals = (
            np.array([vector[key] for vector in vectors], np.int64) for key in ("sum", "residual")
        )
        first = sums * multiplier + bias
        first = np.maximum(first, 0) if relu else first
        total = first + residuals * residual_multiplier + rounding
        expected = np.clip(total >> shift, low, high).tolist()
        assert [result["value"] for result in results] == [value & 0xFF for value in expected]


def random_sum(shift: int, multiplier: int, bias: int) -> int:
    """A sum, often one whose result is near a tie or a bound."""
    if multiplier and random.random() < 0.6:
        wanted = (random.randint(-300, 300) << shift) + (1 << shift - 1) - bias
        near = wanted // multiplier + random.randint(-1, 1)
        return max(-(2**23), min(2**23 - 1, near))
    return random_number(24)


@cocotb.test(timeout_time=4000, timeout_unit="us")
async def windows_are_complete(dut):
    """Maps of all shapes: 3x3 windows of one channel, eight channels of one pixel, residuals."""
    shapes = {
        "window": fields_layout(WINDOW),
        "channel": unsigned(8),
        "residual": place_layout(),
    }
    pipeline = Pipeline(
        dut,
        "window",
        {name: (shape, 0) for name, shape in shapes.items()},
        {"taps": data.ArrayLayout(8, 9), "residual_word": unsigned(8)},
    )
    write = dut.window__write
    write.value = 0
    await start_clock(dut)
    for _ in range(12):
        buffer = random.getrandbits(1)
        maps = [RandomMap() for _ in range(2)]  # what windows read, and the residual's
        for each, where in zip(maps, (buffer, 1 - buffer), strict=True):
            await each.store(dut, where)
        pointwise = random.getrandbits(1)
        image, residual = maps
        unit = image.unit // 8
        dut.window__input_buffer.value = buffer
        dut.window__pointwise.value = pointwise
        steps = (unit % 64, image.width // 3 * unit % 64, image.width % 3)
        for name, value in zip(("cell_step", "row_step", "row_phase"), steps, strict=True):
            getattr(dut, f"window__{name}").value = 0 if pointwise else value
        vectors, expected = [], []
        for _ in range(60):
            vector, taps = image.window(bool(pointwise))
            place, value = residual.word()
            vectors.append(vector | {"residual": place})
            expected.append((taps, value))
        results = await pipeline.run(vectors, 1)
        for result, (taps, value) in zip(results, expected, strict=True):
            shown = zip(result["taps"], taps, strict=True)
            assert [a for a, b in shown if b is not None] == [b for b in taps if b is not None]
            assert result["residual_word"] == value


class RandomMap:
    """A map of random values and shape, and where each lies (docs/compact.md)."""

    def __init__(self):
        while True:
            self.height, self.width = random.randint(1, 16), random.randint(1, 16)
            self.channels = random.choice([1, 3, 8, 12, 16, 32, 64])
            self.unit = max(8, 1 << (self.channels - 1).bit_length())
            cells = -(-self.width * -(-self.height // 3) // 3)
            if cells * self.unit <= 512:
                break
        self.base = self.unit * random.randint(0, 512 // self.unit - cells)
        size = self.channels, self.height, self.width
        self.values = np.random.default_rng(random.getrandbits(32)).integers(0, 256, size)

    def place(self, c: int, y: int, x: int) -> dict[str, int]:
        n = x + self.width * (y // 3)
        k = c % 8
        address = self.base + n // 3 * self.unit + c
        return {"u": (y + k // 3) % 3, "v": (n + k % 3) % 3, "address": address}

    async def store(self, dut, buffer: int):
        for (c, y, x), value in np.ndenumerate(self.values):
            word = {"valid": 1, "buffer": buffer, "place": self.place(c, y, x), "value": int(value)}
            dut.window__write.value = pack(write_layout(), word)
            await RisingEdge(dut.clk)
        dut.window__write.value = 0

    def window(self, pointwise: bool) -> tuple[dict, list[int | None]]:
        """A WINDOW entry with its channel, and the taps; None where nobody looks."""
        c = random.randrange(self.channels)
        y0, x0 = random.randint(-2, self.height - 1), random.randint(-2, self.width - 1)
        if pointwise:
            c, y0, x0 = c - c % 8, max(y0, 0), max(x0, 0)
        n0 = x0 + self.width * (y0 // 3)
        rows = [pointwise or 0 <= y0 + i < self.height for i in range(3)]
        columns = [pointwise or 0 <= x0 + j < self.width for j in range(3)]
        entry = {
            "cell": (self.base + n0 // 3 * self.unit) // 8 % 64,
            "phase": n0 % 3,
            "residue": y0 % 3,
            "rows": sum(inside << i for i, inside in enumerate(rows)),
            "columns": sum(inside << j for j, inside in enumerate(columns)),
        }
        if pointwise:
            lanes = range(c, c + 9)
            taps = [
                int(self.values[k, y0, x0]) if k < min(self.channels, c + 8) else None
                for k in lanes
            ]
        else:
            taps = [
                int(self.values[c, y0 + i, x0 + j]) if rows[i] and columns[j] else 0
                for i in range(3)
                for j in range(3)
            ]
        return {"window": entry, "channel": c}, taps

    def word(self) -> tuple[dict, int]:
        """A place and what lies there."""
        c, y, x = (random.randrange(size) for size in self.values.shape)
        return self.place(c, y, x), int(self.values[c, y, x])


@cocotb.test(timeout_time=4000, timeout_unit="us")
@cocotb.parametrize(stalls=[0.0, 0.5])
async def results_fill_blocks(dut, stalls):
    """Images of 1 to 40 results each: two to a word, whole blocks, none before its request."""
    members = ResultWriter().signature.members
    layouts = {
        name: payload_layout(members[name].signature) for name in ("request", "data", "done")
    }
    requests = StreamSink(dut, "results__request", layouts["request"], stalls=stalls, seed=1)
    words = StreamSink(dut, "results__data", layouts["data"], stalls=stalls, seed=2)
    done = StreamSource(dut, "results__done", layouts["done"], stalls=stalls, seed=3)
    for name in ("put", "flush", "halt", "set_output"):
        getattr(dut, f"results__{name}").value = 0
    await start_clock(dut)
    dut.results__output.value = 5
    dut.results__set_output.value = 1
    await RisingEdge(dut.clk)
    dut.results__set_output.value = 0
    block, answered = 5, 0

    async def idle():
        nonlocal answered
        while True:
            await RisingEdge(dut.clk)
            if len(words.words) // BLOCK > answered:
                answered += 1
                done.send({"error": 0})
            if dut.results__idle.value:
                return

    for count in (1, 2, 16, 17, 40, *(random.randint(1, 40) for _ in range(10))):
        values = [random_number(32) & 0xFFFFFFFF for _ in range(count)]
        first = len(words.words)
        for value in values:
            dut.results__result.value = value
            dut.results__put.value = 1
            await RisingEdge(dut.clk)
            dut.results__put.value = 0
            await RisingEdge(dut.clk)
            await idle()
        dut.results__flush.value = 1
        await RisingEdge(dut.clk)
        dut.results__flush.value = 0
        await RisingEdge(dut.clk)
        await idle()
        written = words.words[first:]
        assert len(written) == BLOCK * -(-count // (2 * BLOCK))
        assert [word["last"] for word in written] == [0, 0, 0, 0, 0, 0, 0, 1] * (
            len(written) // BLOCK
        )
        halves = [
            half for word in written for half in (word["data"] & 0xFFFFFFFF, word["data"] >> 32)
        ]
        assert halves[:count] == values
        blocks = len(written) // BLOCK
        assert [request["address"] for request in requests.words[-blocks:]] == [
            64 * (block + index) for index in range(blocks)
        ]
        block += blocks
        assert not dut.results__outstanding.value
