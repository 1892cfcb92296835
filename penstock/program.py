"""The program that an accelerator runs: one binary layout for compiler, hardware decoder and docs.

A program is a sequence of 64-bit little-endian words in four sections::

    header       HEADER
    program      one DESCRIPTOR per layer, then the tables: ROW, COLUMN and GROUP records
    parameters   one PARAMETER record per output channel of each layer
    weights      one weight word of `lanes` bytes per step, each padded to whole 64-bit words

Records list their fields from bit 0 of their first word upward. Behind the program, beyond the
header's length, its file carries the network and the configuration that it was compiled from;
hardware never reads that.
"""

import json
import os
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from penstock.config import Config
from penstock.errors import PenstockError
from penstock.network import Network, load_network, save_network, write_whole

if TYPE_CHECKING:
    from penstock.channel_stream import StreamProgram

MAGIC = 0x54534E50  # "PNST" in memory order
VERSION = 1
WORD_BYTES = 8


@dataclass(frozen=True)
class Field:
    """One field of a record: name, bits, signedness, meaning."""

    name: str
    bits: int
    doc: str = ""
    signed: bool = False

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest value."""
        if self.signed:
            return -(1 << self.bits - 1), (1 << self.bits - 1) - 1
        return 0, (1 << self.bits) - 1


class Record:
    """A record of whole 64-bit words, each with its own fields."""

    def __init__(self, name: str, *words: tuple[Field, ...]):
        self.name = name
        self.words = words
        for index, fields in enumerate(words):
            if sum(field.bits for field in fields) > 64:
                raise PenstockError(f"{name} word {index}: fields must fit into 64 bits")

    @property
    def fields(self) -> tuple[Field, ...]:
        """All fields, in order."""
        return tuple(field for word in self.words for field in word)

    def pack(self, **values: int) -> list[int]:
        """The record's words. Raises PenstockError for a value outside its field's range."""
        missing = {field.name for field in self.fields} ^ set(values)
        if missing:
            raise TypeError(f"{self.name}: fields do not match, {sorted(missing)}")
        words = []
        for fields in self.words:
            word = position = 0
            for field in fields:
                value = int(values[field.name])
                low, high = field.range
                if not low <= value <= high:
                    raise PenstockError(
                        f"{self.name} field {field.name} must be in {low}..{high}, not {value}"
                    )
                word |= (value & ((1 << field.bits) - 1)) << position
                position += field.bits
            words.append(word)
        return words

    def unpack(self, words) -> dict[str, int]:
        """Values of the fields by name."""
        values = {}
        for word, fields in zip(words, self.words, strict=True):
            word, position = int(word), 0
            for field in fields:
                value = (word >> position) & ((1 << field.bits) - 1)
                if field.signed and value >> (field.bits - 1):
                    value -= 1 << field.bits
                values[field.name] = value
                position += field.bits
        return values


HEADER = Record(
    "header",
    (Field("magic", 32, "0x54534E50"), Field("version", 16, "format version")),
    (Field("config", 32, "configuration hash"), Field("length", 32, "words of the whole program")),
    (Field("crc", 32, "CRC-32 (zlib) of the words from 3 to the end"),),
    (
        Field("layers", 16, "layer descriptors"),
        Field("program_words", 16, "words of the program section"),
        Field("parameters", 16, "parameter records"),
    ),
    (
        Field("weight_words", 32, "weight words in the program"),
        Field("weight_offset", 32, "first word of the weights section, counted in 64-bit words"),
    ),
    (
        Field("input_buffer", 1, "activation buffer that the image is loaded into"),
        Field("input_base", 11, "its first address"),
        Field("input_planes", 12, "channel words of the image"),
        Field("input_height", 8),
        Field("input_width", 8),
        Field("input_plane", 11, "addresses of one channel word"),
    ),
    (
        Field("input_beats", 32, "64-bit words of one image in memory"),
        Field("output_beats", 32, "64-bit words of one output in memory"),
    ),
    (),
)

DESCRIPTOR = Record(
    "descriptor",
    (
        Field("pointwise", 1, "kernel: 0 3x3, one channel word a step; 1 1x1, nine words a step"),
        Field("gated", 1, "judge base sums; conditional steps only above the threshold"),
        Field("raw", 1, "classifier: sum + bias go to memory as 32 bits (M is 1)"),
        Field("pool", 1, "global average pooling fused: only the pooled map is written"),
        Field("residual", 1, "add a residual"),
        Field("relu_before_add", 1, "clip psum*M + B at 0 before the residual is added"),
        Field("input_signed", 1),
        Field("residual_signed", 1),
        Field("input_buffer", 1, "buffer that windows are read from"),
        Field("output_buffer", 1, "buffer that results are written to"),
        Field("load_input", 1, "the next image may be loaded from this layer's start on"),
        Field("shift", 5, "S of the requantization"),
        Field("low", 9, "lower bound of the saturation", signed=True),
        Field("high", 9, "upper bound", signed=True),
        Field("residual_multiplier", 16, "Mr", signed=True),
    ),
    (
        Field("channels", 12, "output channels"),
        Field("block_columns", 8, "base blocks per row of blocks"),
        Field("block_rows", 8, "rows of base blocks"),
        Field("height", 8, "output pixels"),
        Field("width", 8),
        Field("group_channels", 12, "output channels of one group"),
        Field("groups", 8, "groups, at most 64"),
    ),
    (
        Field("row_table", 16, "first word of the ROW records in the program section"),
        Field("column_table", 16, "first word of the COLUMN records"),
        Field("group_table", 16, "first word of the GROUP records"),
        Field("parameter_base", 16, "parameter record of output channel 0"),
    ),
    (
        Field("plane", 11, "addresses of one channel word of the input map"),
        Field("step", 16, "address step from one step to the next: plane, or 9*plane if pointwise"),
        Field("weight_address", 16, "first weight word on chip"),
        Field("weight_words", 20, "weight words of this layer"),
    ),
    (
        Field(
            "weight_offset",
            32,
            "first 64-bit word of the layer's weights, from the program's start",
        ),
        Field("pool_pixels", 16, "pixels of one pooled channel"),
    ),
    (
        Field("pool_multiplier", 16, "M of the pooled mean", signed=True),
        Field("pool_shift", 5, "its S"),
        Field("pool_low", 9, "its lower bound", signed=True),
        Field("pool_high", 9, "its upper bound", signed=True),
    ),
)

ROW = Record(
    "row",
    (
        Field("residue", 2, "y0 % 3 of the window's first row y0"),
        Field("cell_0", 11, "cell of n0 = W*(y0//3): n0 // 3"),
        Field("phase_0", 2, "n0 % 3"),
        Field("cell_1", 11, "the same for W*(y0//3 + 1)"),
        Field("phase_1", 2),
        Field("valid", 3, "bit i: window row y0+i lies inside the map"),
        Field("output_residue", 2, "y % 3 of the output row"),
        Field("output_cell", 11, "W*(y//3) // 3, output map"),
        Field("output_phase", 2, "W*(y//3) % 3"),
        Field("residual_residue", 2, "the same for the residual map's row stride*y"),
        Field("residual_cell", 11),
        Field("residual_phase", 2),
    ),
)
COLUMN = Record(
    "column",
    (
        Field("cell", 11, "x0 // 3 of the window's first column x0"),
        Field("phase", 2, "x0 % 3"),
        Field("valid", 3, "bit j: window column x0+j lies inside the map"),
        Field("output_cell", 11, "x // 3 of the output column"),
        Field("output_phase", 2, "x % 3"),
        Field("residual_cell", 11, "the same for the residual map's column stride*x"),
        Field("residual_phase", 2),
    ),
)
GROUP = Record(
    "group",
    (
        Field("base_address", 11, "map base + plane * first word of the base steps"),
        Field("base_a", 2, "(word // 3) % 3 of that word"),
        Field("base_b", 2, "word % 3"),
        Field("base_steps", 10, "at least 1"),
    ),
    (
        Field("conditional_address", 11, "the same for the conditional steps"),
        Field("conditional_a", 2),
        Field("conditional_b", 2),
        Field("conditional_steps", 10, "0: the group has no conditional path"),
        Field("before", 10, "conditional steps before the jump over the base words; 0: no jump"),
        Field("jump_address", 11, "address after the jump"),
        Field("jump_a", 2),
        Field("jump_b", 2),
    ),
)
PARAMETER = Record(
    "parameter",
    (
        Field("threshold", 32, "T: judged psum > T", signed=True),
        Field("multiplier", 16, "M", signed=True),
        Field("residual_valid", 1, "this channel has a residual"),
        Field("residual_address", 11, "residual map base + plane * word of the channel"),
        Field("residual_lane", 4, "channel % w"),
    ),
    (
        Field("bias", 40, "B (raw: the integer bias)", signed=True),
        Field("output_address", 11, "output map base + plane * word of the channel"),
        Field("output_a", 2, "(word // 3) % 3"),
        Field("output_b", 2, "word % 3"),
        Field("output_lane", 4, "channel % w"),
        Field("residual_a", 2),
        Field("residual_b", 2),
    ),
)
RECORDS = (HEADER, DESCRIPTOR, ROW, COLUMN, GROUP, PARAMETER)


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """A compiled network. Every record is a dict by field name; see RECORDS.

    ``layer_names[i]`` are the network's layers that program layer i computes, in order: a
    convolution alone, a convolution and the global pooling fused behind it, a pooling, or the
    classifier.
    """

    config: Config
    network: Network
    layer_names: tuple[tuple[str, ...], ...]
    header: dict[str, int]
    descriptors: tuple[dict[str, int], ...]
    tables: np.ndarray  # (program_words - descriptors,) uint64
    parameters: tuple[dict[str, int], ...]
    weights: np.ndarray  # (weight_words, lanes) int8: lane = tap * w + channel of the word

    def layer_rows(self, layer: int) -> list[dict[str, int]]:
        """ROW records of one layer, one per output row."""
        return self._records(ROW, layer, "row_table", "height")

    def layer_columns(self, layer: int) -> list[dict[str, int]]:
        """COLUMN records of one layer, one per output column."""
        return self._records(COLUMN, layer, "column_table", "width")

    def layer_groups(self, layer: int) -> list[dict[str, int]]:
        """GROUP records of one layer."""
        return self._records(GROUP, layer, "group_table", "groups")

    def layer_parameters(self, layer: int) -> tuple[dict[str, int], ...]:
        """PARAMETER records of one layer, one per output channel."""
        base = self.descriptors[layer]["parameter_base"]
        return self.parameters[base : base + self.descriptors[layer]["channels"]]

    def _records(self, record: Record, layer: int, table: str, count: str) -> list[dict[str, int]]:
        size = len(record.words)
        descriptor = self.descriptors[layer]
        first = descriptor[table] - len(self.descriptors) * len(DESCRIPTOR.words)
        return [
            record.unpack(self.tables[first + index * size : first + (index + 1) * size])
            for index in range(descriptor[count])
        ]

    def to_words(self) -> np.ndarray:
        """The program as (length,) uint64, header sealed with length and CRC."""
        beats = self.config.weight_beats
        padded = np.zeros((len(self.weights), beats * WORD_BYTES), np.int8)
        padded[:, : self.config.lanes] = self.weights
        sections = [
            *(DESCRIPTOR.pack(**descriptor) for descriptor in self.descriptors),
            self.tables,
            *(PARAMETER.pack(**parameter) for parameter in self.parameters),
            padded.reshape(-1).view("<u8"),
        ]
        body = np.concatenate([np.asarray(section, np.uint64) for section in sections])
        header = dict(self.header, length=len(HEADER.words) + len(body), crc=0)
        words = np.concatenate([np.array(HEADER.pack(**header), np.uint64), body])
        header["crc"] = zlib.crc32(words[3:].astype("<u8").tobytes())
        words[: len(HEADER.words)] = HEADER.pack(**header)
        return words


def save_program(program: "Program | StreamProgram", path: str | os.PathLike):
    """Write a program file; it appears whole or not at all."""
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder) / "network"
        save_network(program.network, network)
        network_bytes = network.read_bytes()
    description = json.dumps(
        {"config": program.config.fields(), "layer_names": program.layer_names}
    ).encode()
    trailer = len(description).to_bytes(8, "little") + description + network_bytes
    write_whole(path, program.to_words().astype("<u8").tobytes() + trailer)


def load_program(
    path: str | os.PathLike, config: Config | None = None
) -> "Program | StreamProgram":
    """Read a program file; ``config``, when given, must be the one that it was compiled for.

    Raises PenstockError where the file is missing, foreign, truncated or corrupt.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise PenstockError(f"program {path}: must be a readable file ({error.strerror})") from None
    size = len(HEADER.words) * WORD_BYTES
    if content[:4] != MAGIC.to_bytes(4, "little"):
        raise PenstockError(f"program {path}: must begin with PNST, not {content[:4]!r}")
    if len(content) < size:
        raise PenstockError(
            f"program {path}: must have at least {size} bytes, not {len(content)}: truncated"
        )
    header = HEADER.unpack(np.frombuffer(content[:size], "<u8"))
    if header["version"] != VERSION:
        raise PenstockError(f"program {path}: version must be {VERSION}, not {header['version']}")
    end = header["length"] * WORD_BYTES
    if len(content) < end + WORD_BYTES:
        raise PenstockError(
            f"program {path}: must have more than {end} bytes, not {len(content)}: truncated"
        )
    words = np.frombuffer(content[:end], "<u8").astype(np.uint64)
    if zlib.crc32(content[3 * WORD_BYTES : end]) != header["crc"]:
        raise PenstockError(
            f"program {path}: CRC must be {header['crc']:#010x}: the file is corrupt"
        )
    compiled_for, layer_names, network = _read_trailer(path, content[end:])
    if header["config"] != compiled_for.hash:
        raise PenstockError(f"program {path}: header and trailer must name one configuration")
    if config is not None and config.hash != header["config"]:
        raise PenstockError(
            f"program {path}: was compiled for configuration {compiled_for.name} "
            f"({header['config']:#010x}), not {config.name} ({config.hash:#010x})"
        )
    return _decode(path, config or compiled_for, network, layer_names, header, words)


def _read_trailer(path, trailer: bytes):
    try:
        size = int.from_bytes(trailer[:8], "little")
        description = json.loads(trailer[8 : 8 + size])
        config = Config(**description["config"])
        with tempfile.TemporaryDirectory() as folder:
            network = Path(folder) / "network"
            network.write_bytes(trailer[8 + size :])
            return config, tuple(map(tuple, description["layer_names"])), load_network(network)
    except (ValueError, KeyError, TypeError) as error:
        raise PenstockError(
            f"program {path}: must carry its network and configuration: truncated "
            f"({type(error).__name__})"
        ) from None


def _decode(path, config, network, layer_names, header, words):
    if config.engine == "compact":
        from penstock.channel_stream import stream_program  # which needs the records above

        return stream_program(path, network, config, words)
    first = len(HEADER.words)
    tables = first + header["layers"] * len(DESCRIPTOR.words)
    parameters = first + header["program_words"]
    weights = header["weight_offset"]
    stored = np.ascontiguousarray(words[weights:]).view(np.int8)
    return Program(
        config=config,
        network=network,
        layer_names=layer_names,
        header=header,
        descriptors=tuple(_unpack_all(DESCRIPTOR, words[first:tables])),
        tables=words[tables:parameters],
        parameters=tuple(_unpack_all(PARAMETER, words[parameters:weights])),
        weights=stored.reshape(-1, config.weight_beats * WORD_BYTES)[:, : config.lanes],
    )


def _unpack_all(record: Record, words: np.ndarray) -> list[dict[str, int]]:
    size = len(record.words)
    return [record.unpack(words[i : i + size]) for i in range(0, len(words), size)]
