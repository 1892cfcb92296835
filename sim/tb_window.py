"""Bench of the way from the activation buffers to the array: windows of random maps."""

import random

import cocotb
import numpy as np
from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from cocotb.triggers import ClockCycles, RisingEdge

from penstock.compiler import compile_network
from penstock.config import BANKS, TAPS
from penstock.errors import PenstockError
from penstock.hw.buffers import WINDOW_LATENCY, residual_latency, write_layout
from penstock.hw.layer_fetch import table_write_layout
from penstock.hw.layouts import PIXEL_BITS, bank_pointer_layout, record_layout, step_layout
from penstock.hw.window import ADDRESS_LATENCY
from penstock.network import INPUT, Convolution, Network, Shape
from penstock.program import COLUMN, DESCRIPTOR, ROW, Program
from penstock.sim.pipelines import Pipeline
from penstock.sim.records import input_keys
from penstock.sim.runner import bench_config
from penstock.sim.streams import pack, start_clock

LATENCY = ADDRESS_LATENCY + WINDOW_LATENCY + 2  # two for the rotations
NETWORKS = 12
STEPS = 100


def random_program(rng: np.random.Generator, cfg) -> Program:
    """One convolution of random kernel, size, stride and padding, compiled."""
    while True:
        kernel = int(rng.choice([1, 3, 3]))
        channels = int(rng.integers(1, 12 * cfg.word))
        height, width = (int(size) for size in rng.integers(kernel, 15, 2))
        shape = Shape(channels=channels, height=height, width=width, signed=bool(rng.integers(2)))
        layer = Convolution(
            name="convolution",
            source=INPUT,
            weights=np.ones((1, channels, kernel, kernel), np.int8),
            multipliers=np.ones(1, np.int16),
            bias=np.zeros(1, np.int64),
            shift=1,
            low=0,
            high=255,
            stride=int(rng.integers(1, 3)),
            padding=tuple(int(side) for side in rng.integers(0, kernel, 4)),
        )
        try:
            return compile_network(
                Network(name="window", input=shape, input_scale=1.0, layers=(layer,)), cfg
            )
        except PenstockError:  # does not fit
            continue


class Bench:
    """Fills the buffers and the tables of one layer."""

    def __init__(self, dut, cfg):
        self.dut, self.cfg = dut, cfg

    async def write_map(self, program: Program, image: np.ndarray):
        """Write an image (C, H, W) uint8, missing channels as 0.

        Some words at once, as loaded ones are, the others channel by channel, as results are.
        """
        cfg = self.cfg
        keys = input_keys(program)
        padded = np.zeros(keys.shape, np.uint8)
        padded[: len(image)] = image
        buffer = program.header["input_buffer"]
        for plane in range(0, len(keys), cfg.word):
            for key, channels in zip(
                keys[plane].ravel(),
                padded[plane : plane + cfg.word].reshape(cfg.word, -1).T,
                strict=True,
            ):
                bank, address = divmod(int(key) // cfg.word, 2048)
                place = buffer, bank % BANKS, address
                if random.random() < 0.5:
                    loaded = int.from_bytes(channels.tobytes(), "little")
                    value = random.getrandbits(8)  # of another cycle
                    await self._write(
                        place, (1 << cfg.word) - 1, value=value, load=1, loaded=loaded
                    )
                    continue
                for channel, value in enumerate(channels):
                    loaded = random.getrandbits(8 * cfg.word)  # of another cycle
                    await self._write(place, 1 << channel, value=int(value), loaded=loaded)
        self.dut.window__write.value = 0

    async def _write(self, place, mask: int, *, value: int, **fields: int):
        buffer, bank, address = place
        write = {"enable": 1, "address": address, "value": value}
        writes = {"banks": {bank: write}, "buffer": buffer, "mask": mask, **fields}
        self.dut.window__write.value = pack(write_layout(self.cfg), writes)
        await RisingEdge(self.dut.clk)

    async def write_tables(self, program: Program):
        """Write the row and column records into the half that is not read, then read that half."""
        dut = self.dut
        for kind, record, entries in (
            ("row", ROW, program.layer_rows(0)),
            ("column", COLUMN, program.layer_columns(0)),
        ):
            for index, entry in enumerate(entries):
                (word,) = record.pack(**entry)
                write = {kind: 1, "index": index, "data": word}
                dut.window__table_write.value = pack(table_write_layout(), write)
                await RisingEdge(dut.clk)
        dut.window__table_write.value = 0
        await ClockCycles(dut.clk, self.cfg.rows)
        dut.window__half.value = not int(dut.window__half.value)
        await ClockCycles(dut.clk, 4)


def expected_operands(program: Program, image: np.ndarray, y: int, x: int, word: int) -> list[int]:
    """Window of an output pixel: taps of one channel word, or up to nine channel words of a pixel.

    Words of a 1x1 step that the map does not have are left out: their weights are 0.
    """
    width, layer = program.config.word, program.network.layers[0]
    top, left, bottom, right = layer.padding
    missing = -len(image) % width
    padded = np.pad(image.astype(int), ((0, missing), (top, bottom), (left, right)))
    y, x = y * layer.stride, x * layer.stride
    if layer.weights.shape[-1] == 1:
        return padded[word * TAPS * width : (word + 1) * TAPS * width, y, x].tolist()
    window = padded[word * width : (word + 1) * width, y : y + 3, x : x + 3]
    return window.transpose(1, 2, 0).ravel().tolist()


def random_steps(rng, program: Program, image: np.ndarray) -> tuple[list[dict], list[list]]:
    """Steps with random pixels in every row, and the operands that they must yield."""
    cfg, descriptor = program.config, program.descriptors[0]
    step_words = -(-len(image) // (cfg.word * (TAPS if descriptor["pointwise"] else 1)))
    base = program.layer_groups(0)[0]["base_address"]
    vectors, expected = [], []
    for _ in range(STEPS):
        word = int(rng.integers(step_words))
        plane = word * (TAPS if descriptor["pointwise"] else 1)
        y = rng.integers(0, descriptor["height"], cfg.rows).tolist()
        x = rng.integers(0, descriptor["width"], cfg.rows).tolist()
        step = {"address": base + word * descriptor["step"], "a": plane // 3 % 3, "b": plane % 3}
        vectors.append({"step": step, "y": y, "x": x})
        expected.append(
            [expected_operands(program, image, *p, word) for p in zip(y, x, strict=True)]
        )
    return vectors, expected


@cocotb.test(timeout_time=2000, timeout_unit="us")
async def windows_in_tap_order(dut):
    """Every pixel's window, padding as 0, in every phase of the banks; strides, 3x3 and 1x1."""
    cfg = bench_config()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    pixels = data.ArrayLayout(PIXEL_BITS, cfg.rows)
    operand = data.ArrayLayout(signed(cfg.activation_bits + 1), cfg.lanes)
    inputs = {"step": (step_layout(), 0), "y": (pixels, 0), "x": (pixels, 0)}
    pipeline = Pipeline(dut, "window", inputs, {"operands": data.ArrayLayout(operand, cfg.rows)})
    bench = Bench(dut, cfg)
    dut.window__half.value = 0
    await start_clock(dut)
    for _ in range(NETWORKS):
        program = random_program(rng, cfg)
        shape = program.network.input
        image = rng.integers(0, 256, (shape.channels, shape.height, shape.width)).astype(np.uint8)
        dut.window__layer.value = pack(record_layout(DESCRIPTOR), program.descriptors[0])
        await bench.write_map(program, image)
        await bench.write_tables(program)
        values = image.view(np.int8) if shape.signed else image
        vectors, expected = random_steps(rng, program, values)
        results = await pipeline.run(vectors, LATENCY)
        for vector, result, wanted in zip(vectors, results, expected, strict=True):
            got = [row[: len(want)] for row, want in zip(result["operands"], wanted, strict=True)]
            assert got == wanted, (program.network.layers[0], vector)


@cocotb.test(timeout_time=2000, timeout_unit="us")
async def residual_words(dut):
    """Each row reads any word of the buffer that the windows do not come from."""
    cfg = bench_config()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    program = random_program(rng, cfg)
    bench = Bench(dut, cfg)
    pointers = data.ArrayLayout(bank_pointer_layout(), cfg.rows)
    words = data.ArrayLayout(unsigned(8 * cfg.word), cfg.rows)
    pipeline = Pipeline(dut, "window", {"residual": (pointers, 0)}, {"residual_word": words})
    dut.window__half.value = 0
    await start_clock(dut)
    shape = program.network.input
    image = rng.integers(0, 256, (shape.channels, shape.height, shape.width)).astype(np.uint8)
    layer = {**program.descriptors[0], "input_buffer": 1 - program.header["input_buffer"]}
    dut.window__layer.value = pack(record_layout(DESCRIPTOR), layer)
    await bench.write_map(program, image)
    keys = input_keys(program)
    vectors, expected = [], []
    for _ in range(STEPS):
        reads, want = [], []
        for _ in range(cfg.rows):
            plane = random.randrange(len(keys) // cfg.word) * cfg.word
            y, x = random.randrange(shape.height), random.randrange(shape.width)
            bank, address = divmod(int(keys[plane, y, x]) // cfg.word, 2048)
            u, v = divmod(bank % BANKS, 3)
            reads.append({"u": u, "v": v, "address": address})
            channels = image[plane : plane + cfg.word, y, x].tobytes()
            want.append(int.from_bytes(channels, "little"))
        vectors.append({"residual": reads})
        expected.append(want)
    results = await pipeline.run(vectors, residual_latency(cfg))
    assert [result["residual_word"] for result in results] == expected
