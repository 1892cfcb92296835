"""The compiler: a quantized network becomes a program of one configuration.

Lowering (penstock.lowering) turns layers into operations, placement (penstock.placement) gives maps
and weights their addresses; here both are written down as the records of penstock.program.
"""

from dataclasses import dataclass

import numpy as np

from penstock.channel_stream import StreamLayer, StreamProgram, compile_stream
from penstock.config import MEMORY_BITS, TAPS, Config
from penstock.errors import PenstockError
from penstock.lowering import KERNEL, Group, Operation, Run, lower
from penstock.network import INPUT, Network, Shape
from penstock.placement import (
    LANES,
    MapPlacement,
    Region,
    place_maps,
    place_weights,
    plane_addresses,
)
from penstock.program import (
    COLUMN,
    DESCRIPTOR,
    GROUP,
    HEADER,
    MAGIC,
    PARAMETER,
    ROW,
    VERSION,
    WORD_BYTES,
    Program,
    Record,
)

CELL_BITS = 11
RESULT_BITS = 32


def compile_network(network: Network, config: Config) -> Program | StreamProgram:
    """Compile a network for a configuration; where that leaves gating out, without its gates.

    Raises PenstockError, naming the layer, what it needs and what there is, for whatever the
    hardware does not compute or the configuration does not hold.
    """
    if config.engine == "compact":
        return compile_stream(network, config)
    if not config.gating:
        network = network.without_gates()
    operations = lower(network, config)
    maps = place_maps(operations, network.input, config)
    weights = [_pack_weights(operation, config.word) for operation in operations]
    weight_addresses = place_weights(operations, [len(words) for words in weights], config)
    parameters = _parameters(operations, maps, config)
    tables = _Tables(first=len(operations) * len(DESCRIPTOR.words), limit=config.program_words)
    pointers = [_layer_tables(operation, maps, config, tables) for operation in operations]
    program_words = tables.first + len(tables.words)
    weight_offset = len(HEADER.words) + program_words + len(parameters) * len(PARAMETER.words)
    descriptors, parameter_base, first_weight = [], 0, 0
    for index, operation in enumerate(operations):
        descriptors.append(
            _descriptor(operation, maps, config)
            | pointers[index]
            | {
                "load_input": int(maps.load_layer == index),
                "parameter_base": parameter_base,
                "weight_address": weight_addresses[index],
                "weight_words": len(weights[index]),
                "weight_offset": weight_offset + first_weight * config.weight_beats,
            }
        )
        parameter_base += operation.shape.channels
        first_weight += len(weights[index])
    header = _header(network, config, maps) | {
        "length": weight_offset + first_weight * config.weight_beats,
        "layers": len(operations),
        "program_words": program_words,
        "parameters": len(parameters),
        "weight_words": first_weight,
        "weight_offset": weight_offset,
        "output_beats": _output_beats(operations[-1]),
    }
    return Program(
        config=config,
        network=network,
        layer_names=tuple(operation.names for operation in operations),
        header=header,
        descriptors=tuple(descriptors),
        tables=np.array(tables.words, np.uint64),
        parameters=tuple(parameters),
        weights=np.concatenate(weights),
    )


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """What one layer of a program costs."""

    names: tuple[str, ...]  # layers of the network that it computes
    base_steps: int  # per block of pixels, all output channels
    conditional_steps: int  # the same, were every output above its threshold
    mixed_steps: int  # of both: step words that are read in both phases
    fill: float  # share of the lanes that hold a weight of an existing channel, over all steps
    blocks: int  # blocks of pixels of one output channel
    input: tuple[int, int]  # buffer, first address
    output: tuple[int, int] | None  # the same; None: results go to memory
    residual: tuple[int, int] | None
    weight_address: int
    weight_words: int
    load_input: bool


def report(program: Program | StreamProgram) -> list[LayerReport]:
    """What each layer of a program costs and where it lies."""
    if isinstance(program, StreamProgram):
        return [_stream_report(program, layer) for layer in program.layers]
    operations = lower(program.network, program.config)
    maps = place_maps(operations, program.network.input, program.config)
    return [
        _layer_report(operation, descriptor, maps, program.config)
        for operation, descriptor in zip(operations, program.descriptors, strict=True)
    ]


def _layer_report(
    operation: Operation, descriptor: dict[str, int], maps: MapPlacement, config: Config
) -> LayerReport:
    channels = operation.shape.channels
    unit = operation.step_channels(config.word)
    base = conditional = mixed = filled = 0
    for index, group in enumerate(operation.groups):
        members = min(operation.group_channels, channels - index * operation.group_channels)
        runs = [word for run in group.conditional for word in range(run.first, run.last)]
        base += members * len(group.base)
        conditional += members * len(runs)
        mixed += members * len(set(runs) & set(range(group.base.first, group.base.last)))
        covered = operation.input.channels if group.conditional else group.last - group.first
        filled += members * covered
    slots = (base + conditional) * unit

    def place(name: str) -> tuple[int, int]:
        return maps.regions[name].buffer, maps.regions[name].base

    return LayerReport(
        names=operation.names,
        base_steps=base,
        conditional_steps=conditional,
        mixed_steps=mixed,
        fill=filled / slots,
        blocks=descriptor["block_rows"] * descriptor["block_columns"],
        input=place(operation.source),
        output=None if operation.raw else place(operation.output),
        residual=operation.residual and place(operation.residual.source),
        weight_address=descriptor["weight_address"],
        weight_words=descriptor["weight_words"],
        load_input=bool(descriptor["load_input"]),
    )


def _stream_report(program: StreamProgram, layer: StreamLayer) -> LayerReport:
    fields, channels = layer.fields, layer.shape.channels
    windows = len(layer.tables) if fields["pool"] else 1
    base = fields["base_steps"] + 1
    conditional = (fields["conditional_steps"] + 1) * fields["gated"]
    macs = sum(
        program.network.macs(each)[0] for each in program.network.layers if each.name in layer.names
    )
    steps = channels * (windows * base + conditional)
    name = layer.names[-1]

    def place(tensor: str | None) -> tuple[int, int] | None:
        region = program.regions.get(tensor)
        return region and (region.buffer, region.base)

    return LayerReport(
        names=layer.names,
        base_steps=channels * windows * base,
        conditional_steps=channels * conditional,
        mixed_steps=channels * max(base + conditional - fields["wrap"] // _unit(layer) - 1, 0)
        if conditional
        else 0,
        fill=macs / (steps * layer.pixels * TAPS)
        if macs
        else np.count_nonzero(layer.weights) / layer.weights.size,
        blocks=layer.pixels,
        input=place(layer.source),
        output=place(name),
        residual=place(layer.residual),
        weight_address=0,
        weight_words=layer.weights[..., 0].size,
        load_input=False,
    )


def _unit(layer: StreamLayer) -> int:
    """Input channels of one step of the compact engine."""
    return LANES if layer.fields["pointwise"] else 1


def _header(network: Network, config: Config, maps: MapPlacement) -> dict[str, int]:
    image = network.input
    region = maps.regions[INPUT]
    planes = -(-image.channels // config.word)
    size = planes * image.height * image.width * config.word
    return {
        "magic": MAGIC,
        "version": VERSION,
        "config": config.hash,
        "crc": 0,  # Program.to_words seals it
        "input_buffer": region.buffer,
        "input_base": region.base,
        "input_planes": planes,
        "input_height": image.height,
        "input_width": image.width,
        "input_plane": plane_addresses(image),
        "input_beats": -(-size // WORD_BYTES),
    }


def _output_beats(last: Operation) -> int:
    return -(-last.shape.channels * RESULT_BITS // MEMORY_BITS) if last.raw else 0


def _descriptor(operation: Operation, maps: MapPlacement, config: Config) -> dict[str, int]:
    """The fields of a layer that need no addresses of tables, parameters or weights."""
    block_height, block_width = config.block
    shape, pool, residual = operation.shape, operation.pool, operation.residual
    plane = plane_addresses(operation.input)
    return {
        "pointwise": int(operation.pointwise),
        "gated": int(operation.thresholds is not None),
        "raw": int(operation.raw),
        "pool": int(pool is not None),
        "residual": int(residual is not None),
        "relu_before_add": int(operation.relu_before_add),
        "input_signed": int(operation.input.signed),
        "residual_signed": int(residual is not None and operation.residual_shape.signed),
        "input_buffer": maps.regions[operation.source].buffer,
        "output_buffer": 0 if operation.raw else maps.regions[operation.output].buffer,
        "shift": operation.shift,
        "low": operation.low,
        "high": operation.high,
        "residual_multiplier": residual.multiplier if residual else 0,
        "channels": shape.channels,
        "block_columns": -(-shape.width // block_width),
        "block_rows": -(-shape.height // block_height),
        "height": shape.height,
        "width": shape.width,
        "group_channels": operation.group_channels,
        "groups": len(operation.groups),
        "plane": plane,
        "step": plane * (TAPS if operation.pointwise else 1),
        "pool_pixels": shape.height * shape.width if pool else 0,
        "pool_multiplier": pool.multiplier if pool else 0,
        "pool_shift": pool.shift if pool else 0,
        "pool_low": pool.low if pool else 0,
        "pool_high": pool.high if pool else 0,
    }


class _Tables:
    """The tables behind the descriptors; equal tables are stored once."""

    def __init__(self, first: int, limit: int):
        self.first = first
        self.limit = limit
        self.words: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}

    def add(self, name: str, record: Record, rows: list[dict[str, int]]) -> int:
        """First word of a table within the program section; ``name`` is the layer that needs it."""
        words = tuple(word for row in rows for word in record.pack(**row))
        if words not in self._places:
            self._places[words] = self.first + len(self.words)
            self.words += words
        need = self.first + len(self.words)
        if need > self.limit:
            raise PenstockError(
                f"layer {name}: descriptors and tables up to it need {need} program words, "
                f"there are {self.limit}"
            )
        return self._places[words]


def _layer_tables(
    operation: Operation, maps: MapPlacement, config: Config, tables: _Tables
) -> dict[str, int]:
    name = operation.name
    return {
        "row_table": tables.add(name, ROW, _rows(operation)),
        "column_table": tables.add(name, COLUMN, _columns(operation)),
        "group_table": tables.add(
            name, GROUP, _group_records(operation, maps.regions[operation.source], config)
        ),
    }


def _row_place(shape: Shape, third: int) -> tuple[int, int]:
    """(cell, phase) of the first pixel of rows 3*third .. 3*third + 2 of a map."""
    cell, phase = divmod(shape.width * third, 3)
    return cell % (1 << CELL_BITS), phase


def _valid(first: int, size: int, pointwise: bool) -> int:
    """Bit i: place first + i lies inside 0..size-1."""
    if pointwise:
        return 0b111
    return sum(1 << tap for tap in range(KERNEL) if 0 <= first + tap < size)


def _rows(operation: Operation) -> list[dict[str, int]]:
    rows = []
    stored = not (operation.pool or operation.raw)
    for y in range(operation.shape.height):
        first = y * operation.stride - operation.padding[0]
        cell_0, phase_0 = _row_place(operation.input, first // 3)
        cell_1, phase_1 = _row_place(operation.input, first // 3 + 1)
        row = {
            "residue": first % 3,
            "cell_0": cell_0,
            "phase_0": phase_0,
            "cell_1": cell_1,
            "phase_1": phase_1,
            "valid": _valid(first, operation.input.height, operation.pointwise),
        }
        row |= _row_target("output", operation.stored, y if stored else 0)
        residual_row = operation.residual.stride * y if operation.residual else 0
        row |= _row_target("residual", operation.residual_shape or operation.shape, residual_row)
        rows.append(row)
    return rows


def _row_target(prefix: str, shape: Shape, y: int) -> dict[str, int]:
    cell, phase = _row_place(shape, y // 3)
    return {f"{prefix}_residue": y % 3, f"{prefix}_cell": cell, f"{prefix}_phase": phase}


def _columns(operation: Operation) -> list[dict[str, int]]:
    columns = []
    stored = not (operation.pool or operation.raw)
    for x in range(operation.shape.width):
        first = x * operation.stride - operation.padding[1]
        column = {
            "cell": first // 3 % (1 << CELL_BITS),
            "phase": first % 3,
            "valid": _valid(first, operation.input.width, operation.pointwise),
        }
        column |= _column_target("output", x if stored else 0)
        column |= _column_target(
            "residual", operation.residual.stride * x if operation.residual else 0
        )
        columns.append(column)
    return columns


def _column_target(prefix: str, x: int) -> dict[str, int]:
    return {f"{prefix}_cell": x // 3, f"{prefix}_phase": x % 3}


def _group_records(operation: Operation, region: Region, config: Config) -> list[dict[str, int]]:
    plane = plane_addresses(operation.input)

    def pointer(prefix: str, step_word: int) -> dict[str, int]:
        word = step_word * (TAPS if operation.pointwise else 1)
        return {
            f"{prefix}_address": region.base + plane * word,
            f"{prefix}_a": word // 3 % 3,
            f"{prefix}_b": word % 3,
        }

    def record(group: Group) -> dict[str, int]:
        runs = group.conditional
        jump = len(runs) == 2
        nowhere = Run(0, 0)
        fields = pointer("base", group.base.first) | {"base_steps": len(group.base)}
        fields |= pointer("conditional", (runs[0] if runs else nowhere).first)
        fields |= pointer("jump", (runs[1] if jump else nowhere).first)
        fields["conditional_steps"] = sum(len(run) for run in runs)
        fields["before"] = len(runs[0]) if jump else 0
        return fields

    return [record(group) for group in operation.groups]


def _channel_place(prefix: str, region: Region, shape: Shape, channel: int, word: int):
    """Fields that point to one channel of a map."""
    index, lane = divmod(channel, word)
    return {
        f"{prefix}_address": region.base + plane_addresses(shape) * index,
        f"{prefix}_a": index // 3 % 3,
        f"{prefix}_b": index % 3,
        f"{prefix}_lane": lane,
    }


def _no_place(prefix: str) -> dict[str, int]:
    return {f"{prefix}_{part}": 0 for part in ("address", "a", "b", "lane")}


def _parameters(
    operations: list[Operation], maps: MapPlacement, config: Config
) -> list[dict[str, int]]:
    parameters: list[dict[str, int]] = []
    for operation in operations:
        need = len(parameters) + operation.shape.channels
        if need > config.channels:
            raise PenstockError(
                f"layer {operation.name}: layers up to it need {need} output channels, "
                f"there are {config.channels}"
            )
        parameters += [
            _parameter(operation, channel, maps, config.word)
            for channel in range(operation.shape.channels)
        ]
    return parameters


def _parameter(operation: Operation, channel: int, maps: MapPlacement, word: int) -> dict[str, int]:
    gated = operation.thresholds is not None
    fields = {
        "threshold": int(operation.thresholds[channel]) if gated else 0,
        "multiplier": int(operation.multipliers[channel]),
        "bias": int(operation.bias[channel]),
    }
    if operation.raw:
        fields |= _no_place("output")
    else:
        region = maps.regions[operation.output]
        fields |= _channel_place("output", region, operation.stored, channel, word)
    source = operation.residual_shape
    first = (operation.shape.channels - source.channels) // 2 if source else 0
    if source and 0 <= channel - first < source.channels:
        region = maps.regions[operation.residual.source]
        fields |= _channel_place("residual", region, source, channel - first, word)
        fields["residual_valid"] = 1
    else:
        fields |= _no_place("residual")
        fields["residual_valid"] = 0
    return fields


def _pack_weights(operation: Operation, word: int) -> np.ndarray:
    """Weight words (steps, lanes) int8 of one layer, in the order in which they are used."""
    words = []
    for index, group in enumerate(operation.groups):
        first = index * operation.group_channels
        members = operation.weights[first : first + operation.group_channels]
        is_base = np.zeros(operation.input.channels, bool)
        is_base[group.first : group.last] = True
        base = _step_words(np.where(is_base[:, None, None], members, 0), word)
        other = _step_words(np.where(is_base[:, None, None], 0, members), word)
        steps = [base[:, group.base.first : group.base.last]]
        steps += [other[:, run.first : run.last] for run in group.conditional]
        words.append(np.concatenate(steps, axis=1).reshape(-1, TAPS * word))
    return np.concatenate(words)


def _step_words(weights: np.ndarray, word: int) -> np.ndarray:
    """Weights (O, I, k, k) as step words (O, steps, lanes) int8; lane = tap * word + channel."""
    outputs, inputs, kernel, _ = weights.shape
    unit = word if kernel == KERNEL else TAPS * word
    steps = -(-inputs // unit)
    padded = np.zeros((outputs, steps * unit, kernel * kernel), np.int8)
    padded[:, :inputs] = weights.reshape(outputs, inputs, kernel * kernel)
    if kernel == KERNEL:
        padded = padded.reshape(outputs, steps, word, TAPS).transpose(0, 1, 3, 2)
    return padded.reshape(outputs, steps, TAPS * word)
