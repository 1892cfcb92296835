"""Bench of the memory side: program, weight and input loader, output writer, arbiter, control.

The top is the core without engine and sequencer; the bench plays their part. Every expected value
comes from the documented formats, computed here in Python.
"""

import random
import zlib

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
from cocotb.utils import get_sim_time

from penstock.config import Config
from penstock.hw.control import BUFFERS, COUNTERS, HALT_CYCLES, events_layout
from penstock.hw.layouts import REGISTER_LATENCY, bank_word_layout, record_layout, request_layout
from penstock.hw.output_writer import raw_result_layout
from penstock.hw.program_loader import LENGTH_BITS
from penstock.program import DESCRIPTOR, HEADER, MAGIC, VERSION
from penstock.registers import (
    ADDRESS,
    ALIGNMENT,
    IDENTITY,
    REGISTERS,
    WATCHDOG_RESET,
    Code,
    Command,
    State,
)
from penstock.sim.memory import MemoryModel
from penstock.sim.runner import bench_parameters
from penstock.sim.streams import (
    CLOCK_PERIOD,
    StreamMonitor,
    StreamSink,
    StreamSource,
    pack,
    start_clock,
    unpack,
)

MEMORY_BYTES = 1 << 20
HEADER_WORDS = len(HEADER.words)
INPUTS = (
    *("registers__write", "registers__address", "registers__write_data"),
    *("bus_error", "run_done", "progress", "events", "layer", "image"),
    *("weights_start", "image_start", "output_start"),
)


class WritePort:
    """Collects the writes of a RAM write port as (address, data)."""

    def __init__(self, dut, name: str):
        self.writes = []
        self._enable = getattr(dut, f"{name}__enable")
        self._address = getattr(dut, f"{name}__address")
        self._data = getattr(dut, f"{name}__data")
        cocotb.start_soon(self._run(dut.clk))

    async def _run(self, clock):
        edge = RisingEdge(clock)
        while True:
            if not self._enable.value:
                await RisingEdge(self._enable)
            await edge
            if self._enable.value:
                self.writes.append((int(self._address.value), int(self._data.value)))

    def take(self) -> list[tuple[int, int]]:
        """The writes since the last call."""
        writes, self.writes = self.writes, []
        return writes


class Side:
    """The device under test with a memory, and the host's side of its registers."""

    def __init__(self, dut):
        parameters = bench_parameters()
        self.dut = dut
        self.cfg = Config(**parameters["config"])
        self.stalls = parameters["stalls"]
        self.memory = MemoryModel(
            dut,
            size=MEMORY_BYTES,
            stalls=self.stalls,
            latency=parameters["latency"],
            seed=random.getrandbits(32),
        )
        for name in INPUTS:
            getattr(dut, name).value = 0
        self.program_writes = WritePort(dut, "program_write")
        self.parameter_writes = WritePort(dut, "parameter_write")
        self.resident_writes = WritePort(dut, "resident_write")
        self.streamed_writes = WritePort(dut, "streamed_write")
        self.requests = StreamMonitor(dut, "memory__read_request", request_layout())
        self.words = self._stream(StreamSink, "image_write", bank_word_layout(self.cfg))
        self.results = self._stream(StreamSource, "results", raw_result_layout())

    def _stream(self, kind, name: str, layout):
        return kind(self.dut, name, layout, stalls=self.stalls, seed=random.getrandbits(32))

    async def start(self) -> "Side":
        await start_clock(self.dut)
        return self

    async def write(self, **values: int):
        """Write registers, one a cycle; returns in the cycle in which a command acts."""
        for name, value in values.items():
            self.dut.registers__address.value = ADDRESS[name]
            self.dut.registers__write_data.value = value
            self.dut.registers__write.value = 1
            await RisingEdge(self.dut.clk)
        self.dut.registers__write.value = 0
        if "COMMAND" in values:
            await RisingEdge(self.dut.clk)

    async def read(self, name: str) -> int:
        return await self.read_address(ADDRESS[name])

    async def read_address(self, address: int) -> int:
        self.dut.registers__address.value = address
        await ClockCycles(self.dut.clk, REGISTER_LATENCY + 1)
        return int(self.dut.registers__read_data.value)

    async def status(self) -> dict[str, int]:
        value = await self.read("STATUS")
        assert value < 1 << 15
        flags = {name: value >> bit & 1 for name, bit in FLAGS.items()}
        return {"code": Code(value & 0xFF), "state": State(value >> 8 & 0xF), **flags}

    async def ended(self) -> Code:
        """Wait for the interrupt; the code of the command that ended."""
        if not self.dut.interrupt.value:
            await RisingEdge(self.dut.interrupt)
        await RisingEdge(self.dut.clk)
        status = await self.status()
        assert status["state"] == State.IDLE and status["done"]
        return status["code"]

    async def load(self, words: np.ndarray, address: int = 0) -> Code:
        """Place a program into memory and LOAD it."""
        self.place(address, words)
        await self.write(PROGRAM=address, COMMAND=Command.LOAD)
        await RisingEdge(self.dut.clk)
        return await self.ended()

    async def load_good(self, **shape: int) -> np.ndarray:
        """LOAD a random program, with these fields in its header."""
        words = random_program(self.cfg, **shape)
        assert await self.load(words) == Code.OK
        return words

    async def begin(self, **values: int):
        """START; returns at the edge after the run pulse."""
        await self.write(**{"IMAGES": 1} | values, COMMAND=Command.START)
        await RisingEdge(self.dut.clk)
        assert self.dut.run.value

    async def pulse(self, name: str, **values: int):
        """Set inputs, with ``name`` high for one cycle."""
        for port, value in values.items():
            getattr(self.dut, port).value = value
        getattr(self.dut, name).value = 1
        await RisingEdge(self.dut.clk)
        getattr(self.dut, name).value = 0

    async def finished(self, busy: str):
        """Wait until a busy signal falls."""
        await RisingEdge(self.dut.clk)
        if getattr(self.dut, busy).value:
            await FallingEdge(getattr(self.dut, busy))
        await RisingEdge(self.dut.clk)

    def place(self, address: int, words: np.ndarray):
        content = words.astype("<u8").tobytes()
        self.memory.content[address : address + len(content)] = content


FLAGS = {"done": 12, "loaded": 13, "refused": 14}


def random_words(count: int) -> np.ndarray:
    """(count,) uint64."""
    return np.frombuffer(random.randbytes(8 * count), "<u8").astype(np.uint64)


def random_program(cfg: Config, *, sealed: bool = True, **changes: int) -> np.ndarray:
    """A program as (length,) uint64 with random sections; ``changes`` go into its header.

    sealed: lengths and CRC follow from the header, else only the given ones change.
    """
    header = {field.name: 0 for field in HEADER.fields}
    header |= {"magic": MAGIC, "version": VERSION, "config": cfg.hash}
    header["layers"] = random.randint(1, 3)
    header["program_words"] = len(DESCRIPTOR.words) * header["layers"] + random.randint(0, 20)
    header["parameters"] = random.randint(0, 30)
    header["weight_words"] = random.randint(0, 40)
    if sealed:
        header |= changes
    header["weight_offset"] = HEADER_WORDS + header["program_words"] + 2 * header["parameters"]
    header["length"] = header["weight_offset"] + header["weight_words"] * cfg.weight_beats
    if not sealed:
        header |= changes
    body = random_words(header["length"] - HEADER_WORDS if sealed else 100)
    words = np.concatenate([np.array(HEADER.pack(**header), np.uint64), body])
    if "crc" not in changes:
        header["crc"] = zlib.crc32(words[3:].astype("<u8").tobytes())
    words[:HEADER_WORDS] = HEADER.pack(**header)
    return words


def weight_words(cfg: Config, words: np.ndarray) -> list[int]:
    """What stands in the weight memory for these 64-bit words of a program."""
    stored = words.astype("<u8").tobytes()
    size = 8 * cfg.weight_beats
    return [
        int.from_bytes(stored[start : start + cfg.lanes], "little")
        for start in range(0, len(stored), size)
    ]


def image_shape(cfg: Config, planes: int, height: int, width: int) -> dict[str, int]:
    """Header fields of an image of that shape, somewhere in a buffer."""
    beats = -(-planes * height * width * cfg.word // 8)
    plane = -(-width * -(-height // 3) // 3)
    return {
        "input_buffer": random.getrandbits(1),
        "input_base": random.randint(0, 2047 - planes * plane),
        "input_planes": planes,
        "input_height": height,
        "input_width": width,
        "input_plane": plane,
        "input_beats": beats,
    }


def expected_map(cfg: Config, shape: dict[str, int], image: bytes) -> list[dict[str, int]]:
    """The writes of an image, by the equations of docs/architecture.md."""
    writes, height, width = [], shape["input_height"], shape["input_width"]
    for c in range(shape["input_planes"]):
        for y in range(height):
            for x in range(width):
                n = x + width * (y // 3)
                start = ((c * height + y) * width + x) * cfg.word
                writes.append(
                    {
                        "buffer": shape["input_buffer"],
                        "u": (y % 3 + (c // 3) % 3) % 3,
                        "v": (n % 3 + c % 3) % 3,
                        "address": shape["input_base"] + c * shape["input_plane"] + n // 3,
                        "data": int.from_bytes(image[start : start + cfg.word], "little"),
                    }
                )
    return writes


def cycle() -> int:
    return round(get_sim_time("ns")) // CLOCK_PERIOD


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def a_program_is_written(dut):
    """Every section reaches its memory, word for word; several programs one after the other."""
    side = await Side(dut).start()
    for address in (0, 64, 0x1C0, 0x4040):
        words = random_program(side.cfg, input_base=random.randint(0, 2047), input_beats=7)
        before = side.memory.beats_read
        assert await side.load(words, address) == Code.OK
        assert side.memory.beats_read - before == len(words)
        header = HEADER.unpack(words[:HEADER_WORDS])
        first, weights = HEADER_WORDS + header["program_words"], header["weight_offset"]
        body = [int(word) for word in words]
        assert side.program_writes.take() == list(enumerate(body[HEADER_WORDS:first]))
        parameters = [
            low | high << 64
            for low, high in zip(body[first:weights:2], body[first + 1 : weights : 2], strict=True)
        ]
        assert side.parameter_writes.take() == list(enumerate(parameters))
        stored = weight_words(side.cfg, words[weights:])
        resident = side.cfg.weights == "resident"
        assert side.resident_writes.take() == (list(enumerate(stored)) if resident else [])
        seen = unpack(record_layout(HEADER), int(dut.header.value))
        assert {name: seen[name] for name in header} == header
        assert await side.status() == {
            "code": Code.OK, "state": State.IDLE, "done": 1, "loaded": 1, "refused": 0
        }  # fmt: skip


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def loading_runs_at_full_rate(dut):
    """One word a cycle, but for the two latencies, a few cycles, and the status read again."""
    side = await Side(dut).start()
    words = random_program(side.cfg, weight_words=200)
    start = cycle()
    assert await side.load(words) == Code.OK
    if not side.stalls:
        polling = REGISTER_LATENCY + 1
        assert cycle() - start <= len(words) + 2 * side.memory.latency + 20 + polling


def bad_headers(cfg: Config) -> list[tuple[Code, dict[str, int]]]:
    """A wrong value for every rule of the header, and the code that it must give."""
    good = HEADER.unpack(random_program(cfg)[:HEADER_WORDS])
    cases = [
        (Code.BAD_MAGIC, {"magic": MAGIC ^ 1 << random.randrange(32)}),
        (Code.BAD_VERSION, {"version": VERSION + 1}),
        (Code.BAD_CONFIG, {"config": cfg.hash ^ 1 << random.randrange(32)}),
        (Code.BAD_MAGIC, {"magic": 0, "version": 0, "config": 0, "length": 0}),
        (Code.BAD_VERSION, {"version": 0, "config": cfg.hash ^ 1, "length": 0}),
        (Code.BAD_CONFIG, {"config": cfg.hash ^ 1, "length": 0}),
    ]
    lengths = [{field: good[field] + step} for field in LENGTH_FIELDS for step in (-1, 1)]
    lengths += [{"length": 0}, {"weight_words": 1 << 31}]
    too_many = (1 << LENGTH_BITS) // cfg.weight_beats
    length = good["weight_offset"] + too_many * cfg.weight_beats
    lengths += [{"weight_words": too_many, "length": length}]  # adds up
    return cases + [(Code.BAD_LENGTH, good | change) for change in lengths]


LENGTH_FIELDS = ("length", "weight_offset", "parameters", "program_words", "weight_words")


def bad_sizes(cfg: Config) -> list[dict[str, int]]:
    """Headers that add up, but whose sections are one too large, or hold no layer."""
    sizes = [
        {"layers": 0},
        {"layers": 4, "program_words": 4 * len(DESCRIPTOR.words) - 1},
        {"program_words": cfg.program_words + 1},
        {"parameters": cfg.channels + 1},
    ]
    if cfg.weights == "resident":
        sizes.append({"weight_words": cfg.weight_words + 1})
    return sizes


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def a_bad_header_is_refused(dut):
    """Each rule has its code, nothing is written, and nothing behind the header is read."""
    side = await Side(dut).start()
    cases = [
        (code, random_program(side.cfg, sealed=False, **change))
        for code, change in bad_headers(side.cfg)
    ]
    sizes = bad_sizes(side.cfg)
    cases += [(Code.BAD_LENGTH, random_program(side.cfg, **size)[:200]) for size in sizes]
    for code, words in cases:
        await side.load_good()
        side.program_writes.take()
        before = side.memory.beats_read
        assert await side.load(words) == code
        assert side.memory.beats_read - before == HEADER_WORDS
        assert side.program_writes.take() == []
        assert not (await side.status())["loaded"]


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def the_largest_program_is_taken(dut):
    """Sections exactly as large as the configuration; streamed weights may exceed it."""
    side = await Side(dut).start()
    cfg = side.cfg
    resident = cfg.weights == "resident"
    words = random_program(
        cfg,
        layers=cfg.program_words // len(DESCRIPTOR.words),
        program_words=cfg.program_words,
        parameters=cfg.channels,
        weight_words=cfg.weight_words if resident else cfg.weight_words + 1,
    )
    assert await side.load(words) == Code.OK
    assert len(side.program_writes.take()) == cfg.program_words
    assert len(side.parameter_writes.take()) == cfg.channels
    assert len(side.resident_writes.take()) == (cfg.weight_words if resident else 0)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def a_corrupt_program_is_refused(dut):
    """One wrong bit anywhere under the CRC, or in the CRC; then a whole program again."""
    side = await Side(dut).start()
    for position in (2, 5, 7, HEADER_WORDS, None, -1):
        words = random_program(side.cfg, weight_words=3, parameters=2)
        index = random.randrange(HEADER_WORDS, len(words)) if position is None else position
        shift = random.randrange(32) if index == 2 else random.randrange(64)
        words[index] ^= np.uint64(1 << shift)
        assert await side.load(words) == Code.BAD_CRC
        assert not (await side.status())["loaded"]
        await side.write(IMAGES=1, COMMAND=Command.START)
        assert await side.ended() == Code.NOT_LOADED
    await side.load_good()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def a_failing_read_ends_the_load(dut):
    """An error beat in the header, in the body, in the last word; the load after it succeeds."""
    side = await Side(dut).start()
    for index in (0, 7, 8, 40, -1):
        words = random_program(side.cfg, weight_words=60)
        side.memory.errors = {8 * (index % len(words))}
        assert await side.load(words) == Code.BUS_ERROR
        assert not (await side.status())["loaded"]
        side.memory.errors = set()
        await side.load_good()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def weights_are_copied(dut):
    """Any number of words from and to anywhere, one beat a cycle."""
    side = await Side(dut).start()
    for words in (1, 2, 65, 150):
        address = 8 * random.randrange(5000)
        destination = random.randrange(1 << 15)
        content = random_words(words * side.cfg.weight_beats)
        side.place(address, content)
        start = cycle()
        await side.pulse(
            "weights_start",
            weights_address=address,
            weights_words=words,
            weights_destination=destination,
        )
        await side.finished("weights_busy")
        if not side.stalls:
            assert cycle() - start <= len(content) + side.memory.latency + 10
        expected = weight_words(side.cfg, content)
        assert side.streamed_writes.take() == list(enumerate(expected, destination))
    for request in side.requests.words:
        last = request["address"] + 8 * request["beats"] - 1
        assert request["beats"] and request["address"] // 512 == last // 512


IMAGES = ((1, 1, 1), (4, 3, 3), (2, 5, 7), (1, 16, 1), (10, 2, 4), (3, 8, 8), (1, 7, 128))


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def images_reach_their_banks(dut):
    """Each word to its bank and address, in order; one word (or beat, if smaller) a cycle."""
    side = await Side(dut).start()
    for planes, height, width in IMAGES:
        shape = image_shape(side.cfg, planes, height, width)
        await side.load_good(**shape)
        content = random_words(shape["input_beats"])
        address = 0x8000 + 8 * random.randrange(200)
        side.place(address, content)
        start = cycle()
        await side.pulse("image_start", image_address=address)
        await side.finished("image_busy")
        if not side.stalls:
            items = max(planes * height * width, shape["input_beats"])
            assert cycle() - start <= items + side.memory.latency + 10
        assert side.words.words == expected_map(side.cfg, shape, content.tobytes())
        side.words.words.clear()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def weights_and_image_load_at_once(dut):
    """Both loaders share the memory in turns, and neither gets the other's data."""
    side = await Side(dut).start()
    shape = image_shape(side.cfg, 3, 20, 17)
    await side.load_good(**shape)
    image, weights = random_words(shape["input_beats"]), random_words(100 * side.cfg.weight_beats)
    side.place(0x8000, image)
    side.place(0x20000, weights)
    side.requests.words.clear()
    await side.pulse(
        "weights_start", weights_address=0x20000, weights_words=100, weights_destination=3
    )
    await side.pulse("image_start", image_address=0x8000)
    await side.finished("image_busy")
    await side.finished("weights_busy")
    assert side.words.words == expected_map(side.cfg, shape, image.tobytes())
    assert side.streamed_writes.take() == list(enumerate(weight_words(side.cfg, weights), 3))
    turns = [request["address"] >= 0x20000 for request in side.requests.words]
    shared = 2 * min(turns.count(True), turns.count(False))
    assert shared >= 4 and turns[:shared] == [True, False] * (shared // 2)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def results_reach_memory(dut):
    """Two results a word, an odd last one padded with 0, image after image."""
    side = await Side(dut).start()
    for results in (1, 2, 7, 10, 127, 129, 401):  # up to five bursts
        beats = -(-results // 2)
        await side.load_good(output_beats=beats)
        values = [random.randrange(-(2**31), 2**31) for _ in range(2 * results)]
        values[0], values[-1] = -(2**31), 2**31 - 1
        before = bytes(side.memory.content[:0x3FF00])
        side.place(0x3FF00, random_words(600))
        for image in range(2):
            start = 0x40000 + 0x840 * image  # the second begins amid a burst's boundaries
            await side.pulse("output_start", output_address=start)
            mine = values[image * results : (image + 1) * results]
            side.results.send(*({"data": v, "last": i == results - 1} for i, v in enumerate(mine)))
            while not dut.output_busy.value:
                await RisingEdge(dut.clk)
            await side.finished("output_busy")
            padded = np.array([*mine, *[0] * (results % 2)], "<i4").tobytes()
            assert side.memory.content[start : start + 8 * beats] == padded
        assert side.memory.content[:0x3FF00] == before


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def registers_hold_what_was_written(dut):
    """Constants, storage, settings that a run takes along, refusals and bad commands."""
    side = await Side(dut).start()
    for register in REGISTERS:
        expected = {"IDENTITY": IDENTITY, "VERSION": VERSION, "CONFIG": side.cfg.hash}
        expected["WATCHDOG"] = WATCHDOG_RESET
        assert await side.read(register.name) == expected.get(register.name, 0)
    assert await side.read_address(4 * len(REGISTERS)) == 0
    writable = [register.name for register in REGISTERS if register.access == "rw"]
    values = {name: random.getrandbits(32) | 1 for name in writable}
    values["WATCHDOG"] = 0
    for name in ("PROGRAM", *BUFFERS):
        values[name] &= -ALIGNMENT
    await side.write(**values)
    await side.write(**{r.name: random.getrandbits(32) for r in REGISTERS if r.access == "ro"})
    for name in writable:
        assert await side.read(name) == (values[name] & 1 if name == "GATING" else values[name])
    assert await side.read("COMMAND") == 0

    for command in (0, 4, 1 << 31 | Command.START):
        await side.write(COMMAND=command)
        assert await side.ended() == Code.BAD_COMMAND
    await side.write(COMMAND=Command.START)
    assert await side.ended() == Code.NOT_LOADED
    await side.load_good()
    await side.write(IMAGES=0, COMMAND=Command.START)
    assert await side.ended() == Code.BAD_COMMAND
    for name in BUFFERS:
        for bit in range(6):
            await side.write(IMAGES=1, **{name: 1 << bit}, COMMAND=Command.START)
            assert await side.ended() == Code.MISALIGNED
        await side.write(**{name: values[name]})
    await side.write(COMMAND=Command.ABORT)
    assert await side.ended() == Code.ABORTED
    assert (await side.status())["loaded"]

    await side.begin(**values)
    await side.write(**{name: random.getrandbits(32) for name in writable} | {"WATCHDOG": 0})
    for name in ("input", "input_stride", "output", "output_stride", "images"):
        assert int(getattr(dut, name).value) == values[name.upper()]
    assert int(dut.gating.value) == values["GATING"] & 1
    for command in (Command.LOAD, Command.START, 77):
        await side.write(COMMAND=command)
        status = await side.status()
        assert status == {
            "code": Code.OK, "state": State.RUNNING, "done": 0, "loaded": 1, "refused": 1
        }  # fmt: skip
    assert not dut.interrupt.value
    await side.pulse("run_done")
    assert await side.ended() == Code.OK
    assert (await side.status())["refused"] == 1
    await side.begin(**values)
    assert (await side.status())["refused"] == 0
    await side.pulse("run_done")
    assert await side.ended() == Code.OK
    for bit in range(6):
        await side.write(PROGRAM=1 << bit, COMMAND=Command.LOAD)
        assert await side.ended() == Code.MISALIGNED
    assert not (await side.status())["loaded"]


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def events_are_counted(dut):
    """Counters hold the sums of a run's events, and only of the last run's; CYCLES its cycles."""
    side = await Side(dut).start()
    await side.load_good()
    layout = events_layout(side.cfg)
    limits = {"outputs": side.cfg.rows, "tasks": side.cfg.rows}
    for cycles in (50, 7):
        dut.events.value = pack(layout, {name: 1 for name in COUNTERS})  # idle: not counted
        await ClockCycles(dut.clk, 3)
        dut.events.value = 0
        await side.begin()
        sums = dict.fromkeys(COUNTERS, 0)
        for index in range(cycles):
            events = {name: random.randint(0, limits.get(name, 1)) for name in COUNTERS}
            dut.events.value = pack(layout, events)
            dut.layer.value, dut.image.value = 5, cycles
            dut.run_done.value = index == cycles - 1
            await RisingEdge(dut.clk)
            for name in COUNTERS:
                sums[name] += events[name]
        dut.run_done.value = dut.layer.value = dut.image.value = 0
        dut.events.value = pack(layout, {name: 1 for name in COUNTERS})
        assert await side.ended() == Code.OK
        await ClockCycles(dut.clk, 3)
        assert {name: await side.read(name.upper()) for name in COUNTERS} == sums
        assert await side.read("CYCLES") == cycles + 1
        assert await side.read("CYCLES_HIGH") == 0
        assert (await side.read("LAYER"), await side.read("IMAGE")) == (5, cycles)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def a_stopped_run_drains_and_restarts(dut):
    """ABORT, TIMEOUT and BUS_ERROR amid transfers: all are drained, and the next run is whole."""
    side = await Side(dut).start()
    shape = image_shape(side.cfg, 2, 20, 20)
    await side.load_good(output_beats=9, **shape)
    image, weights = random_words(shape["input_beats"]), random_words(50 * side.cfg.weight_beats)
    side.place(0x8000, image)
    side.place(0x20000, weights)
    for reason in (Code.ABORTED, Code.BUS_ERROR, Code.ABORTED, Code.TIMEOUT):
        await side.begin(WATCHDOG=150 if reason == Code.TIMEOUT else 0)
        await start_transfers(side)
        await stop(side, reason)
        await side.finished("halt")
        assert not dut.output_busy.value and not dut.image_busy.value
        assert not dut.weights_busy.value
        assert await side.ended() == reason
        assert (await side.status())["loaded"]
        side.words.words.clear()
        side.streamed_writes.take()

        await side.begin()
        await start_transfers(side)
        side.results.send(*({"data": value, "last": value == 17} for value in range(3, 18)))
        await side.finished("image_busy")
        await side.finished("weights_busy")
        await side.finished("output_busy")
        assert side.words.words == expected_map(side.cfg, shape, image.tobytes())
        assert side.streamed_writes.take() == list(enumerate(weight_words(side.cfg, weights)))
        expected = np.arange(18, dtype="<i4").tobytes()
        assert side.memory.content[0x40000 : 0x40000 + 72] == expected
        await side.pulse("run_done")
        assert await side.ended() == Code.OK


async def start_transfers(side: Side):
    """Both loaders, and the first three of eighteen results."""
    await side.pulse(
        "weights_start", weights_address=0x20000, weights_words=50, weights_destination=0
    )
    await side.pulse("image_start", image_address=0x8000)
    await side.pulse("output_start", output_address=0x40000)
    side.results.send(*({"data": value, "last": 0} for value in range(3)))
    await side.results.drained()


async def stop(side: Side, reason: Code):
    """Bring the run to that end; returns when the halt has begun."""
    if reason == Code.ABORTED:
        await ClockCycles(side.dut.clk, random.randrange(60))
        await side.write(COMMAND=Command.ABORT)
    elif reason == Code.BUS_ERROR:
        side.memory.errors = set(range(0x8000, 0x48000, 8))
        await ClockCycles(side.dut.clk, random.randrange(60))
        await side.pulse("bus_error")
    while not side.dut.halt.value:
        await RisingEdge(side.dut.clk)
    status = await side.status()
    assert (status["code"], status["state"], status["done"]) == (reason, State.DRAINING, 0)
    side.memory.errors = set()


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def the_watchdog_waits_for_progress(dut):
    """A run lives while something moves, and ends WATCHDOG cycles after the last move."""
    side = await Side(dut).start()
    await side.load_good()
    for _ in range(2):  # the second halt is as long as the first
        await side.begin(WATCHDOG=40)
        for _ in range(5):
            await ClockCycles(dut.clk, 38)
            await side.pulse("progress")
        last = cycle()
        while not dut.halt.value:
            await RisingEdge(dut.clk)
        assert cycle() - last == 40 + 2  # one late, and one until the halt is seen
        start = cycle()
        await side.finished("halt")
        assert cycle() - start == HALT_CYCLES
        assert await side.ended() == Code.TIMEOUT
    await side.begin(WATCHDOG=0)
    await ClockCycles(dut.clk, 200)
    assert (await side.status())["state"] == State.RUNNING
    await side.pulse("run_done")
    await side.ended()

    side.memory.latency = 300  # a memory that does not answer in time
    await side.write(WATCHDOG=100, PROGRAM=0, COMMAND=Command.LOAD)
    while not dut.halt.value:
        await RisingEdge(dut.clk)
    status = await side.status()
    assert (status["code"], status["done"]) == (Code.TIMEOUT, 0)
    start = cycle()
    await RisingEdge(dut.interrupt)  # though the memory still owes its answer
    assert 90 <= cycle() - start <= 100 + HALT_CYCLES
    status = await side.status()
    assert (status["code"], status["state"]) == (Code.TIMEOUT, State.DRAINING)
    for command in (Command.LOAD, Command.START):
        await side.write(COMMAND=command)
        status = await side.status()
        assert status["refused"] and status["state"] == State.DRAINING
    await side.finished("halt")
    assert await side.ended() == Code.TIMEOUT
    assert not (await side.status())["loaded"]

    side.memory.latency = 300
    await side.write(WATCHDOG=0, COMMAND=Command.LOAD)
    await ClockCycles(dut.clk, 20)
    await side.write(COMMAND=Command.ABORT, WATCHDOG=100)
    await RisingEdge(dut.interrupt)
    status = await side.status()
    assert (status["code"], status["state"]) == (Code.TIMEOUT, State.DRAINING)
    await side.finished("halt")
    await side.write(WATCHDOG=1000)
    await side.load_good()
