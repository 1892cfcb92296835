"""Programs of the compact engine: one stream, in the order in which the engine uses it.

A program is 64-bit little-endian words in blocks of 64 bytes::

    header    HEADER in one block
    image     LAYER, one table entry per pixel; zeros to the end of its block
    layer     LAYER, then tables: one entry per pixel of the output
              per output channel: its weights, 5 words a step, then CHANNEL
    ...
    end       zeros, a block at least; in the last 32 bits the CRC-32 of all from word 3 on

Behind the header everything is read as 16-bit words. Weights of a step are nine bytes, tap 0 first,
and a zero. Records list their fields from bit 0 of their first word upward.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from penstock.config import TAPS, Config
from penstock.errors import PenstockError
from penstock.lowering import KERNEL, Operation, lower
from penstock.network import INPUT, Network, Pool, Shape
from penstock.placement import LANES, Region, padded_channels, place_padded_maps
from penstock.program import HEADER, MAGIC, VERSION, WORD_BYTES, Field, Record

BLOCK_BYTES = 64
"""The engine reads and writes memory in blocks of that size."""

HALF = 128
"""Weight words of one channel that fit on chip, twice."""

BIAS_LIMIT = 1 << 30
STEP_WORDS = 5
"""16-bit words of the weights of one step."""

LAYER = Record(
    "layer",
    (
        Field("gated", 1, "judge base sums; conditional steps only above the threshold"),
        Field("pointwise", 1, "kernel: 0 3x3, one channel a step; 1 1x1, eight channels a step"),
        Field("raw", 1, "classifier: sum + bias go to memory as 32 bits (M is 1)"),
        Field("residual", 1, "tables have RESIDUAL entries"),
        Field("relu_before_add", 1, "clip psum*M + B at 0 before the residual is added"),
        Field("residual_signed", 1),
        Field("output_signed", 1, "results in -128..127; else 0..255"),
        Field("pool", 1, "all pixels of the table add up to one output"),
        Field("input_buffer", 1, "buffer that windows are read from; residuals are in the other"),
        Field("output_buffer", 1, "buffer that results are written to"),
        Field("image", 1, "results are the bytes of the image, and behind the table is none"),
        Field("last", 1, "of its program"),
        Field("reserved_0", 4),
        Field("pixels", 8, "table entries - 1"),
        Field("steps", 8, "steps of a channel with weights - 1"),
        Field("base_steps", 8, "steps of a base sum - 1"),
        Field("conditional_steps", 8, "steps of a conditional sum - 1"),
        Field("wrap", 8, "last channel of the input map: 0 follows"),
        Field("shift", 5, "S of the requantization"),
        Field("reserved_1", 3),
    ),
    (
        Field("cell_step", 6, "address / 8 from one cell of the input map to the next"),
        Field("row_step", 6, "cells, times that, from a row of the window to the one 3 below"),
        Field("row_phase", 2, "the same modulo 3, in pixels"),
        Field("reserved_2", 2),
        Field("residual_multiplier", 16, "Mr", signed=True),
        Field("rounding", 32, "2^(S-1), 0 in a raw layer"),
    ),
)
WINDOW = Record(
    "window",
    (
        Field("cell", 6, "address / 8 of the window's first pixel, channel 0"),
        Field("phase", 2, "n0 % 3"),
        Field("residue", 2, "y0 % 3"),
        Field("rows", 3, "bit i: row y0+i lies inside the map"),
        Field("columns", 3, "bit j: column x0+j lies inside the map"),
    ),
)
PLACE = Record(
    "place",
    (
        Field("residue", 2, "y % 3"),
        Field("phase", 2, "n % 3"),
        Field("cell", 6, "address / 8 of channel 0"),
    ),
)
CHANNEL = Record(
    "channel",
    (
        Field("multiplier", 16, "M", signed=True),
        Field("bias", 32, "B (raw: the integer bias)", signed=True),
        Field("base_channel", 8, "input channel of the first base step"),
        Field("conditional_channel", 8, "the same of the conditional steps"),
    ),
    (
        Field("threshold", 24, "T: judged psum > T", signed=True),
        Field("reserved", 6),
        Field("residual_valid", 1, "this channel has a residual"),
        Field("last", 1, "of its layer"),
        Field("channel", 8, "output channel"),
        Field("residual_channel", 8, "channel of the residual map"),
    ),
)
CHANNEL_WORDS = 7
"""16-bit words of a CHANNEL."""

STREAM_RECORDS = (LAYER, WINDOW, PLACE, CHANNEL)


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamLayer:
    """One layer of a program as the engine sees it; LAYER and CHANNEL as dicts by field name.

    ``places`` (pixels, 3) int64: residue, phase, cell of each output pixel.
    """

    names: tuple[str, ...]  # layers of the network that it computes
    source: str  # the tensor that it reads
    residual: str | None  # the tensor that it adds
    shape: Shape  # of its output
    fields: dict[str, int]  # LAYER
    tables: np.ndarray  # (pixels, entries of a pixel) uint16
    places: np.ndarray
    weights: np.ndarray  # (channels, steps, 9) int8
    channels: tuple[dict[str, int], ...]  # CHANNEL

    @property
    def pixels(self) -> int:
        """Outputs of one channel."""
        return 1 if self.fields["pool"] else len(self.tables)

    def words(self) -> Iterator[np.ndarray]:
        """16-bit words of the stream, piece by piece."""
        yield _halves(LAYER, self.fields)
        yield self.tables.reshape(-1)
        for weights, channel in zip(self.weights, self.channels, strict=True):
            padded = np.zeros((len(weights), 2 * STEP_WORDS), np.int8)
            padded[:, :TAPS] = weights
            yield padded.reshape(-1).view("<u2")
            yield _halves(CHANNEL, channel)[:CHANNEL_WORDS]


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamProgram:
    """A network compiled for the compact engine; the interface of penstock.program.Program.

    ``regions``: where the image and each layer's output lie, by name.
    """

    config: Config
    network: Network
    header: dict[str, int]  # HEADER
    image: StreamLayer  # the image's place
    layers: tuple[StreamLayer, ...]
    regions: dict[str, Region]
    stored: np.ndarray  # (length,) uint64

    @property
    def layer_names(self) -> tuple[tuple[str, ...], ...]:
        """The network's layers that each layer of the program computes."""
        return tuple(layer.names for layer in self.layers)

    @property
    def descriptors(self) -> tuple[dict[str, int], ...]:
        """What a record of a run needs to know of each layer; no pooling is fused."""
        return tuple({"raw": layer.fields["raw"], "pool": 0} for layer in self.layers)

    def to_words(self) -> np.ndarray:
        """The program as (length,) uint64, sealed with length and CRC."""
        return self.stored


def stream_program(path, network: Network, config: Config, words: np.ndarray) -> StreamProgram:
    """The program of a program file, which must be what this compiler makes of its network.

    Raises PenstockError where it is not.
    """
    program = compile_stream(network, config)
    if not np.array_equal(program.to_words(), words):
        raise PenstockError(
            f"program {path}: must be what this version compiles of its network: compile it anew"
        )
    return program


def compile_stream(network: Network, config: Config) -> StreamProgram:
    """Compile a network for the compact engine.

    Raises PenstockError, naming the layer, what it needs and what there is, for whatever the
    hardware does not compute or the configuration does not hold.
    """
    operations = [part for each in lower(network, config) for part in _unfused(each)]
    _check_input(network.input)
    maps = place_padded_maps(operations, network.input, config)
    pools = {layer.name for layer in network.layers if isinstance(layer, Pool)}
    layers = []
    for index, operation in enumerate(operations):
        _check(operation)
        is_pool = operation.name in pools
        layers.append(_layer(operation, maps, is_pool, index == len(operations) - 1))
    image = _image(network.input, maps[INPUT])
    raw = operations[-1].raw
    header = {field.name: 0 for field in HEADER.fields} | {
        "magic": MAGIC,
        "version": VERSION,
        "config": config.hash,
        "layers": len(layers),
        "input_planes": network.input.channels,
        "input_height": network.input.height,
        "input_width": network.input.width,
        "input_beats": -(-_size(network.input) // WORD_BYTES),
        "output_beats": -(-len(network.layers[-1].weights) // 2) if raw else 0,
    }
    stored = _seal(header, image, layers)
    return StreamProgram(
        config=config,
        network=network,
        header=header,
        image=image,
        layers=tuple(layers),
        regions=maps,
        stored=stored,
    )


def _size(shape: Shape) -> int:
    return shape.channels * shape.height * shape.width


def _seal(header: dict[str, int], image: StreamLayer, layers: list[StreamLayer]) -> np.ndarray:
    """The whole program; completes ``header``."""
    first = np.concatenate(list(image.words()))
    stream = np.concatenate([piece for layer in layers for piece in layer.words()])
    # The engine asks for blocks ahead: one more than it needs.
    halves = [_whole(first, 0), _whole(stream, BLOCK_BYTES // 2 + 2)]
    body = np.concatenate(halves).view("<u8").astype(np.uint64)
    block = BLOCK_BYTES // WORD_BYTES
    header["length"] = block + len(body)
    header["crc"] = 0
    words = np.concatenate([np.zeros(block, np.uint64), body])
    _put_header(words, header)
    sealed = words.astype("<u8")
    check = zlib.crc32(sealed[3:].tobytes()[:-4])
    sealed.view("<u4")[-1] = check
    header["crc"] = zlib.crc32(sealed[3:].tobytes())
    _put_header(sealed, header)
    return sealed.astype(np.uint64)


def _put_header(words: np.ndarray, header: dict[str, int]):
    words[: len(HEADER.words)] = HEADER.pack(**header)


def _whole(halves: np.ndarray, spare: int) -> np.ndarray:
    """16-bit words up to the end of a block, at least ``spare`` zeros among them."""
    size = BLOCK_BYTES // 2
    padded = np.zeros(-(-(len(halves) + spare) // size) * size, "<u2")
    padded[: len(halves)] = halves
    return padded


def _halves(record: Record, values: dict[str, int]) -> np.ndarray:
    """A record as 16-bit words."""
    return np.array(record.pack(**values), "<u8").view("<u2")


def _unfused(operation: Operation) -> list[Operation]:
    """A convolution, and a global pooling behind it as a layer of its own."""
    pool = operation.pool
    if pool is None:
        return [operation]
    channels = operation.shape.channels
    pooled = Operation(
        names=(pool.name,),
        source=operation.name,
        input=operation.shape,
        shape=operation.stored,
        stored=operation.stored,
        weights=np.ones((channels, 1, KERNEL, KERNEL), np.int8),
        multipliers=np.full(channels, pool.multiplier, np.int16),
        bias=np.zeros(channels, np.int64),
        shift=pool.shift,
        low=pool.low,
        high=pool.high,
        stride=KERNEL,
        group_channels=1,
        groups=(),
    )
    convolution = replace(operation, names=operation.names[:1], stored=operation.shape, pool=None)
    return [convolution, pooled]


def _check_input(shape: Shape):
    if shape.signed:
        raise PenstockError("network input: must be unsigned for the compact engine")
    if shape.channels > 256 or shape.height * shape.width < 2:
        raise PenstockError(
            "network input: must have at most 256 channels of 2 pixels or more for the compact "
            f"engine, not {shape.channels} of {shape.height}x{shape.width}"
        )


def _check(operation: Operation):
    """What the compact engine computes of what the array does."""
    name = operation.name
    if operation.input.signed:
        raise PenstockError(
            f"layer {name}: its input {operation.source} must be unsigned for the compact engine"
        )
    bounds = (-128, 127) if operation.low < 0 else (0, 255)
    if not operation.raw and (operation.low, operation.high) != bounds:
        raise PenstockError(
            f"layer {name}: low and high must be 0..255 or -128..127 for the compact engine, "
            f"not {operation.low}..{operation.high}"
        )
    low, high = int(operation.bias.min()), int(operation.bias.max())
    if not -BIAS_LIMIT <= low <= high < BIAS_LIMIT:
        raise PenstockError(
            f"layer {name}: bias must be in {-BIAS_LIMIT}..{BIAS_LIMIT - 1} for the compact "
            f"engine, not {low}..{high}"
        )
    for what, count in (("input", operation.input), ("output", operation.shape)):
        if count.channels > 256:
            raise PenstockError(
                f"layer {name}: must have at most 256 {what} channels for the compact engine, "
                f"not {count.channels}"
            )


def _layer(operation: Operation, maps: dict[str, Region], is_pool: bool, last: bool) -> StreamLayer:
    source = maps[operation.source]
    whole = is_pool and not operation.groups  # a global pooling: windows side by side
    region = None if operation.raw else maps[operation.output]
    windows = _windows(operation, source, whole)
    places = _places(operation.stored, region, len(windows))
    tables = [windows, _pack_places(places)]
    if operation.residual is not None:
        tables.append(_pack_places(_residual_places(operation, maps)))
    weights, channels, base, conditional = _channels(operation, is_pool, len(windows))
    steps = weights.shape[1]
    if steps > HALF:
        raise PenstockError(
            f"layer {operation.name}: weights of one channel need {steps} words on chip, "
            f"there are {HALF}"
        )
    unit = padded_channels(operation.input) // LANES
    inside = not operation.pointwise
    wrap = operation.input.channels - 1
    if operation.pointwise:
        wrap -= wrap % LANES
    fields = {
        "gated": int(operation.thresholds is not None),
        "pointwise": int(operation.pointwise),
        "raw": int(operation.raw),
        "residual": int(operation.residual is not None),
        "relu_before_add": int(operation.relu_before_add),
        "residual_signed": int(operation.residual is not None and operation.residual_shape.signed),
        "output_signed": int(operation.low < 0),
        "pool": int(whole),
        "input_buffer": source.buffer,
        "output_buffer": region.buffer if region else 0,
        "image": 0,
        "last": int(last),
        "pixels": len(windows) - 1,
        "steps": steps - 1,
        "base_steps": base - 1,
        "conditional_steps": max(conditional - 1, 0),
        "wrap": 255 if whole else wrap,
        "shift": operation.shift,
        "cell_step": unit * inside % 64,
        "row_step": operation.input.width // 3 * unit * inside % 64,
        "row_phase": operation.input.width % 3 * inside,
        "residual_multiplier": operation.residual.multiplier if operation.residual else 0,
        "rounding": 0 if operation.raw else 1 << operation.shift - 1,
    }
    return StreamLayer(
        names=operation.names,
        source=operation.source,
        residual=operation.residual and operation.residual.source,
        shape=operation.stored,
        fields=_filled(LAYER, fields),
        tables=np.stack(tables, axis=1),
        places=places,
        weights=weights,
        channels=channels,
    )


def _filled(record: Record, fields: dict[str, int]) -> dict[str, int]:
    """The fields, and 0 in all others of the record."""
    return {field.name: 0 for field in record.fields} | fields


def _image(shape: Shape, region: Region) -> StreamLayer:
    """The layer that loads the image; PLACE entries stand behind windows that nobody reads."""
    places = _places(shape, region, shape.height * shape.width)
    tables = np.stack([np.zeros(len(places), np.uint16), _pack_places(places)], axis=1)
    fields = {
        "image": 1,
        "output_buffer": region.buffer,
        "pixels": len(places) - 1,
        "wrap": shape.channels - 1,
    }
    return StreamLayer(
        names=(INPUT,),
        source=INPUT,
        residual=None,
        shape=shape,
        fields=_filled(LAYER, fields),
        tables=tables,
        places=places,
        weights=np.zeros((0, 0, TAPS), np.int8),
        channels=(),
    )


def _windows(operation: Operation, source: Region, whole: bool) -> np.ndarray:
    """WINDOW of every output pixel, or of the windows side by side of a global pooling."""
    image = operation.input
    unit = padded_channels(image) // LANES
    rows, columns = operation.shape.height, operation.shape.width
    if whole:
        rows, columns = -(-image.height // KERNEL), -(-image.width // KERNEL)
    made = []
    for y in range(rows):
        for x in range(columns):
            y0 = y * operation.stride - operation.padding[0]
            x0 = x * operation.stride - operation.padding[1]
            cell, phase = divmod(x0 + image.width * (y0 // 3), 3)
            fields = {
                "cell": (source.base // LANES + cell * unit) % 64,
                "phase": phase,
                "residue": y0 % 3,
                "rows": _valid(y0, image.height, operation.pointwise),
                "columns": _valid(x0, image.width, operation.pointwise),
            }
            made += WINDOW.pack(**fields)
    return np.array(made, np.uint16)


def _valid(first: int, size: int, pointwise: bool) -> int:
    """Bit i: place first + i lies inside 0..size-1."""
    if pointwise:
        return 0b111
    return sum(1 << tap for tap in range(KERNEL) if 0 <= first + tap < size)


def _places(shape: Shape, region: Region | None, entries: int) -> np.ndarray:
    """(entries, 3) residue, phase, cell of the pixels of a map; one place: that in all of them."""
    if region is None:
        return np.zeros((entries, 3), np.int64)
    places = [_place(shape, region, y, x) for y in range(shape.height) for x in range(shape.width)]
    return np.array(places * (entries // len(places)), np.int64)


def _place(shape: Shape, region: Region, y: int, x: int) -> tuple[int, int, int]:
    cell, phase = divmod(x + shape.width * (y // 3), 3)
    return y % 3, phase, region.base // LANES + cell * (padded_channels(shape) // LANES)


def _residual_places(operation: Operation, maps: dict[str, Region]) -> np.ndarray:
    residual, shape = operation.residual, operation.residual_shape
    region, stride = maps[residual.source], residual.stride
    return np.array(
        [
            _place(shape, region, stride * y, stride * x)
            for y in range(operation.shape.height)
            for x in range(operation.shape.width)
        ],
        np.int64,
    )


def _pack_places(places: np.ndarray) -> np.ndarray:
    words = [PLACE.pack(residue=u, phase=v, cell=cell)[0] for u, v, cell in places.tolist()]
    return np.array(words, np.uint16)


def _channels(
    operation: Operation, is_pool: bool, windows: int
) -> tuple[np.ndarray, tuple[dict[str, int], ...], int, int]:
    """(weights, CHANNEL of every output channel, base steps, conditional steps)."""
    outputs = operation.shape.channels
    if is_pool and not operation.groups:
        weights = np.ones((outputs, windows, TAPS), np.int8)
        starts, base, conditional = [(o, 0) for o in range(outputs)], 1, 0
    elif is_pool:
        own = operation.weights[np.arange(outputs), np.arange(outputs)]
        weights = own.reshape(outputs, 1, TAPS)
        starts, base, conditional = [(o, 0) for o in range(outputs)], 1, 0
    else:
        weights, starts, base, conditional = _steps(operation)
    source = operation.residual_shape
    first = (outputs - source.channels) // 2 if source else 0
    channels = []
    for o in range(outputs):
        valid = source is not None and 0 <= o - first < source.channels
        gated = operation.thresholds is not None
        fields = {
            "multiplier": int(operation.multipliers[o]),
            "bias": int(operation.bias[o]),
            "base_channel": starts[o][0],
            "conditional_channel": starts[o][1],
            "threshold": int(operation.thresholds[o]) if gated else 0,
            "residual_valid": int(valid),
            "last": int(o == outputs - 1),
            "channel": o,
            "residual_channel": o - first if valid else 0,
        }
        channels.append(_filled(CHANNEL, fields))
    return weights, tuple(channels), base, conditional


def _steps(operation: Operation) -> tuple[np.ndarray, list[tuple[int, int]], int, int]:
    """Weights in the order of steps, first channels of each output channel, and steps.

    Base steps begin at the group's first channel, conditional ones behind them; from the last
    channel of the map both go on at the first. Steps of eight channels that hold channels of both
    run in both, with zero weights for the channels of the other one.
    """
    outputs, inputs = operation.weights.shape[:2]
    groups = len(operation.groups)
    unit = LANES if operation.pointwise else 1
    count = -(-inputs // unit)
    size = inputs // groups
    firsts = [group * size // unit for group in range(groups)]
    lasts = [-(-(group + 1) * size // unit) for group in range(groups)]
    base = max(last - first for first, last in zip(firsts, lasts, strict=True))
    whole = size % unit == 0
    conditional = 0 if groups == 1 else count - base if whole else count
    weights = np.zeros((outputs, base + conditional, TAPS), np.int8)
    starts = []
    for o in range(outputs):
        group = o // operation.group_channels
        is_base = np.zeros(inputs, bool)
        is_base[group * size : (group + 1) * size] = True
        second = (firsts[group] + base) % count if whole else 0
        steps = [((firsts[group] + step) % count, True) for step in range(base)]
        steps += [((second + step) % count, False) for step in range(conditional)]
        for step, (word, of_base) in enumerate(steps):
            for lane in range(unit):
                channel = word * unit + lane
                if channel < inputs and is_base[channel] == of_base:
                    taps = operation.weights[o, channel].reshape(-1)
                    weights[o, step, lane : lane + len(taps)] = taps
        starts.append((firsts[group] * unit, second * unit))
    return weights, starts, base, conditional
