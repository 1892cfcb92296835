"""Bench of the layer fetch and of the tables behind it, with compiled programs.

Parameter ``programs``: files, one network each. While a layer is fetched, the tables of the layer
before it are read in every cycle.
"""

import random
from collections import deque

import cocotb
from amaranth.hdl import unsigned
from amaranth.lib import data
from cocotb.triggers import RisingEdge

from penstock.hw.layouts import PIXEL_BITS, bank_pointer_layout, record_layout
from penstock.hw.pipeline import WAY
from penstock.hw.pointers import LATENCY as POINTER_LATENCY
from penstock.hw.ram import LATENCY as RAM_LATENCY
from penstock.network import Shape
from penstock.program import DESCRIPTOR, GROUP, HEADER, PARAMETER, Program, load_program
from penstock.sim.runner import bench_config, bench_parameters
from penstock.sim.streams import pack, start_clock, unpack

PARAMETER_DELAY = 2
"""Cycles by which a pixel's parameters come after it."""
READS = 80
"""Table reads of a layer, at least."""


def fetch_cycles(descriptor: dict[str, int]) -> int:
    """Cycles from ``fetch`` to ``ready``."""
    return descriptor["height"] + descriptor["width"] + 2 * descriptor["groups"] + 31


def expected_pointer(shape: Shape, width: int, base: int, channel: int, y: int, x: int) -> dict:
    """Bank and address of one value of a map (docs/architecture.md)."""
    word = channel // width
    n = x + shape.width * (y // 3)
    plane = -(-shape.width * -(-shape.height // 3) // 3)
    return {
        "u": (y % 3 + word // 3) % 3,
        "v": (n + word) % 3,
        "address": base + word * plane + n // 3,
    }


class Tables:
    """The tables of one layer: random reads and what they must yield."""

    def __init__(self, program: Program, index: int):
        self.program, self.width = program, program.config.word
        self.descriptor = program.descriptors[index]
        self.groups = program.layer_groups(index)
        self.parameters = program.layer_parameters(index)
        network = program.network
        first = program.layer_names[index][0]
        layer = next(each for each in network.layers if each.name == first)
        self.shapes = network.shapes()
        self.output = self.shapes[first]
        self.residual = getattr(layer, "residual", None)

    def read(self) -> dict:
        """One read of every table: inputs, and outputs by name (None: anything)."""
        descriptor = self.descriptor
        group = random.randrange(len(self.groups))
        channel = random.randrange(len(self.parameters))
        pixels = [
            (random.randrange(descriptor["height"]), random.randrange(descriptor["width"]))
            for _ in range(self.program.config.rows)
        ]
        return {
            "group": group,
            "y": [y for y, _ in pixels],
            "x": [x for _, x in pixels],
            "parameter": self.parameters[channel],
            "entry": self.groups[group],
            "output": self._outputs(channel, pixels),
            "residual": self._residuals(channel, pixels),
        }

    def _outputs(self, channel: int, pixels) -> list[dict] | None:
        if self.descriptor["pool"] or self.descriptor["raw"]:
            return None
        base = self.parameters[0]["output_address"]
        return [expected_pointer(self.output, self.width, base, channel, *p) for p in pixels]

    def _residuals(self, channel: int, pixels) -> list[dict] | None:
        if not self.residual or not self.parameters[channel]["residual_valid"]:
            return None
        shape, stride = self.shapes[self.residual.source], self.residual.stride
        offset = (self.output.channels - shape.channels) // 2
        first = max(offset, 0)  # the first output channel with a residual
        start = expected_pointer(shape, self.width, 0, first - offset, 0, 0)
        base = self.parameters[first]["residual_address"] - start["address"]
        places = [(channel - offset, stride * y, stride * x) for y, x in pixels]
        return [expected_pointer(shape, self.width, base, *place) for place in places]


class Bench:
    """Loads programs, fetches layers and reads their tables."""

    def __init__(self, dut):
        self.dut, self.cfg = dut, bench_config()
        self.edge = RisingEdge(dut.clk)
        rows = self.cfg.rows
        self.layouts = {
            "group": unsigned(6),
            "y": data.ArrayLayout(PIXEL_BITS, rows),
            "x": data.ArrayLayout(PIXEL_BITS, rows),
            "parameter": record_layout(PARAMETER),
            "entry": record_layout(GROUP),
            "output": data.ArrayLayout(bank_pointer_layout(), rows),
            "residual": data.ArrayLayout(bank_pointer_layout(), rows),
        }
        self.tables = None  # of the layer that runs
        self.due = {"entry": deque(), "output": deque(), "residual": deque()}
        self.late = deque([None] * PARAMETER_DELAY)
        self.cycle = self.compared = 0
        for name in ("fetch", "half", "program_write__enable"):
            self._port(name).value = 0

    def _port(self, name: str):
        return getattr(self.dut, f"tables__{name}")

    async def load(self, program: Program):
        """Write the program section into the program RAM."""
        words = program.to_words()[len(HEADER.words) :][: program.header["program_words"]]
        for address, word in enumerate(words):
            self._port("program_write__enable").value = 1
            self._port("program_write__address").value = address
            self._port("program_write__data").value = int(word)
            await self._step()
        self._port("program_write__enable").value = 0

    async def fetch(self, program: Program, index: int):
        """Fetch a layer, reading the running layer's tables; then make it the running one."""
        descriptor = program.descriptors[index]
        packed = pack(record_layout(DESCRIPTOR), descriptor)
        self._port("fetch").value = 1
        self._port("index").value = index
        await self._step()
        self._port("fetch").value = 0
        self._port("index").value = random.getrandbits(4)
        described = False
        for cycle in range(1, fetch_cycles(descriptor) + 1):
            await self._step()
            described |= bool(self._port("described").value)
            if cycle == 1:
                assert not described, "the layer before must not pass for this one"
            if described:
                assert self._port("described").value
                assert int(self._port("layer").value) == packed
            ready = bool(self._port("ready").value)
            assert ready == (cycle == fetch_cycles(descriptor)), f"ready in cycle {cycle}"
        assert described, "the descriptor must be there with the tables"
        while self.compared < READS and self.tables:
            await self._step()
        await self._drain()
        self._port("half").value = not self._port("half").value
        for _ in range(WAY):
            await self._step()
        self.tables, self.compared = Tables(program, index), 0

    async def _drain(self):
        """Let all reads arrive before the halves are exchanged."""
        self.tables = None
        for _ in range(POINTER_LATENCY + 1):
            await self._step()

    async def _step(self):
        """One cycle, with a read of every table and a look at earlier ones."""
        self._read()
        await self.edge
        for name, due in self.due.items():
            if not due or due[0][0] != self.cycle:
                continue
            _, expected = due.popleft()
            if expected is None:
                continue
            got = unpack(self.layouts[name], int(self._port(name).value))
            got = {k: got[k] for k in expected} if isinstance(expected, dict) else got
            assert got == expected, name
            self.compared += 1
        self.cycle += 1

    def _read(self):
        read = self.tables.read() if self.tables else None
        parameter = self.late.popleft()
        self.late.append(read and read["parameter"])
        shape = self.layouts["parameter"]
        noise = random.getrandbits(shape.size)
        self._port("parameter").value = pack(shape, parameter) if parameter else noise
        if not read:
            return
        for name in ("group", "y", "x"):
            self._port(name).value = pack(self.layouts[name], read[name])
        for name, latency in (
            ("entry", RAM_LATENCY),
            ("output", POINTER_LATENCY),
            ("residual", POINTER_LATENCY),
        ):
            self.due[name].append((self.cycle + latency, read[name]))


@cocotb.test(timeout_time=4000, timeout_unit="us")
async def programs(dut):
    """Every layer of every program, twice in a row: descriptor, groups, pointers of results."""
    bench = Bench(dut)
    await start_clock(dut)
    seen = {"residual": 0, "groups": 0}
    for path in bench_parameters()["programs"]:
        program = load_program(path, bench.cfg)
        await bench.load(program)
        layers = range(len(program.descriptors))
        for index in (*layers, *layers, 0):
            await bench.fetch(program, index)
            seen["residual"] += bench.tables.residual is not None
            seen["groups"] += len(bench.tables.groups) > 1
    assert all(seen.values()), f"the programs must have all kinds of tables, {seen}"


@cocotb.test(timeout_time=4000, timeout_unit="us")
async def any_layer(dut):
    """Layers in random order."""
    bench = Bench(dut)
    await start_clock(dut)
    for path in bench_parameters()["programs"]:
        program = load_program(path, bench.cfg)
        await bench.load(program)
        for _ in range(6):
            await bench.fetch(program, random.randrange(len(program.descriptors)))
