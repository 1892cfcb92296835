"""What the recorder wrote, turned back into the tensors of the network.

A record is ``{cycle, kind, index, what, where, data}``, little-endian, see RECORD_KINDS. Tensors
come from the writes to the activation buffers (and into the pooling) alone: the program's tables
tell where each output lies.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from penstock.channel_stream import StreamLayer, StreamProgram
from penstock.config import BANKS, Config
from penstock.network import INPUT
from penstock.placement import LANES
from penstock.program import Program

WRITE, POOL, START, DONE, MARK = range(5)
RECORD_KINDS = {
    WRITE: "write to a bank: index = 9*buffer + bank, what = mask of channels, where = address",
    POOL: "value into the pooling: index = row, what = channel, where = y + 256*x, data[0] = value",
    START: "first base fetch of a layer: what = layer, where = image",
    DONE: "last write of a layer done: what = layer, where = image",
    MARK: "the bench's mark became what",
}

_ADDRESSES = 2048  # of one bank, at most


def record_dtype(cfg: Config) -> np.dtype:
    """One record as NumPy sees it."""
    return np.dtype(
        [
            ("cycle", "<u4"),
            ("kind", "u1"),
            ("index", "u1"),
            ("what", "<u2"),
            ("where", "<u4"),
            ("data", "u1", (max(4, cfg.word),)),
        ]
    )


def read_records(path: Path, cfg: Config) -> np.ndarray:
    """All records of a file, in order of time."""
    return np.fromfile(path, record_dtype(cfg))


def records_of_mark(records: np.ndarray, mark: int) -> np.ndarray:
    """Records from one mark to the next."""
    marks = np.flatnonzero(records["kind"] == MARK)
    values = records["what"][marks]
    (which,) = np.flatnonzero(values == mark)
    end = marks[which + 1] if which + 1 < len(marks) else len(records)
    return records[marks[which] + 1 : end]


@dataclass(frozen=True, eq=False)
class Observed:
    """What the hardware did during one START of N images.

    ``tensors``: the input and the output of every layer but the classifier, by name, (N, C, H, W)
    uint8 or int8. ``layer_cycles`` (N, layers of the program) int64: from the first base fetch to
    the last write. ``image_cycles`` (N,) int64: from an image's first base fetch to that of the
    next image, of the last image to its last layer's end. ``errors``: elements not written, written
    twice, writes that belong nowhere.
    """

    tensors: dict[str, np.ndarray]
    layer_cycles: np.ndarray
    image_cycles: np.ndarray
    errors: list[str] = field(default_factory=list)


def output_keys(program: Program, layer: int) -> np.ndarray:
    """Where a layer writes each output: (O, H, W) int64, (O, 1, 1) of a layer with fused pooling.

    ``key = ((9*buffer + bank)*2048 + address)*w + lane``
    """
    if isinstance(program, StreamProgram):
        return _stream_keys(program.layers[layer])
    descriptor = program.descriptors[layer]
    parameters = _columns(program.layer_parameters(layer))
    if descriptor["pool"]:
        rows = columns = {"output_residue": 0, "output_cell": 0, "output_phase": 0}
        rows = {name: np.zeros((1, 1, 1), np.int64) for name in rows}
        columns = rows
    else:
        rows = _columns(program.layer_rows(layer), (1, -1, 1))
        columns = _columns(program.layer_columns(layer), (1, 1, -1))
    phase = rows["output_phase"] + columns["output_phase"]
    cell = rows["output_cell"] + columns["output_cell"] + phase // 3
    bank_row = (rows["output_residue"] + parameters["output_a"]) % 3
    bank = 3 * bank_row + (phase + parameters["output_b"]) % 3
    address = parameters["output_address"] + cell
    return _key(program, descriptor["output_buffer"], bank, address, parameters["output_lane"])


def input_keys(program: Program) -> np.ndarray:
    """Where the image is loaded to: (planes*w, H, W) int64, as `output_keys`."""
    if isinstance(program, StreamProgram):
        return _stream_keys(program.image)
    header, word = program.header, program.config.word
    channel = np.arange(header["input_planes"] * word).reshape(-1, 1, 1)
    y = np.arange(header["input_height"]).reshape(1, -1, 1)
    x = np.arange(header["input_width"]).reshape(1, 1, -1)
    plane = channel // word
    n = x + header["input_width"] * (y // 3)
    bank = 3 * ((y + plane // 3) % 3) + (n + plane) % 3
    address = header["input_base"] + plane * header["input_plane"] + n // 3
    return _key(program, header["input_buffer"], bank, address, channel % word)


def _stream_keys(layer: StreamLayer) -> np.ndarray:
    """Where the compact engine writes each output of a layer."""
    residue, phase, cell = layer.places[: layer.pixels].T
    channel = np.arange(layer.shape.channels).reshape(-1, 1)
    lane = channel % LANES
    bank = 3 * ((residue + lane // 3) % 3) + (phase + lane % 3) % 3
    keys = (BANKS * layer.fields["output_buffer"] + bank) * _ADDRESSES + 8 * cell + channel
    return keys.reshape(layer.shape.channels, layer.shape.height, layer.shape.width)


def _key(program: Program, buffer, bank, address, lane) -> np.ndarray:
    return ((BANKS * buffer + bank) * _ADDRESSES + address) * program.config.word + lane


def _columns(records, shape=(-1, 1, 1)) -> dict[str, np.ndarray]:
    return {
        name: np.array([record[name] for record in records], np.int64).reshape(shape)
        for name in records[0]
    }


def observe(records: np.ndarray, program: Program, images: int) -> Observed:
    """Tensors, cycles and errors of one START of ``images`` images."""
    return _Observer(records, program, images).run()


class _Observer:
    def __init__(self, records: np.ndarray, program: Program, images: int):
        self.program = program
        self.images = images
        self.layers = len(program.descriptors)
        self.shapes = program.network.shapes()
        self.errors = []
        self.tensors = {}
        self.layer_cycles = np.zeros((images, self.layers), np.int64)
        self.image_cycles = np.zeros(images, np.int64)
        kinds = records["kind"]
        self.starts, self.dones = records[kinds == START], records[kinds == DONE]
        self.pool = records[kinds == POOL]
        self._split_writes(records[kinds == WRITE])
        self.owned = np.zeros(len(self.keys), bool)  # writes that belong to a layer

    def _split_writes(self, writes: np.ndarray):
        """One entry for each channel that a write enables."""
        word = self.program.config.word
        enabled = (writes["what"][:, None] >> np.arange(word)) & 1 > 0
        where = writes["index"].astype(np.int64) * _ADDRESSES + writes["where"]
        self.keys = (where[:, None] * word + np.arange(word))[enabled]
        self.values = writes["data"][:, :word][enabled]
        self.cycles = np.broadcast_to(writes["cycle"][:, None], enabled.shape)[enabled]

    def run(self) -> Observed:
        if self._layers_in_order():
            begins = self.starts["cycle"][:: self.layers].astype(np.int64)
            self.image_cycles = np.diff(begins, append=int(self.dones["cycle"][-1]) + 1)
            for layer in range(self.layers):
                self._layer(layer)
            self._input()
        return Observed(self.tensors, self.layer_cycles, self.image_cycles, self.errors)

    def _layers_in_order(self) -> bool:
        layer = np.tile(np.arange(self.layers), self.images)
        for name, events in (("start", self.starts), ("be done", self.dones)):
            if len(events) != len(layer) or (events["what"] != layer).any():
                self.errors.append(
                    f"layers must {name} {self.layers} x {self.images} times in order, "
                    f"{len(events)} did: {events['what'][:40].tolist()}"
                )
        return not self.errors

    def _window(self, layer: int, image: int) -> slice:
        """Writes from the layer's first step to its last write; the next image may follow."""
        index = image * self.layers + layer
        begin, end = self.starts["cycle"][index], self.dones["cycle"][index]
        return slice(
            int(np.searchsorted(self.cycles, begin)),
            int(np.searchsorted(self.cycles, end, side="right")),
        )

    def _layer(self, layer: int):
        names = self.program.layer_names[layer]
        descriptor = self.program.descriptors[layer]
        keys = np.zeros(0, np.int64) if descriptor["raw"] else output_keys(self.program, layer)
        places = _Places(self.program, keys)
        tensor = np.zeros((self.images, *keys.shape), np.uint8)
        for image in range(self.images):
            window = self._window(layer, image)
            mine = places.of(self.keys[window])
            self._end(layer, image, self.cycles[window][mine >= 0])
            self.owned[window] = mine >= 0
            if not descriptor["raw"]:
                written = mine[mine >= 0]
                tensor[image].flat[written] = self.values[window][mine >= 0]
                self._once(f"layer {names[-1]} image {image}", written, keys.shape)
        if not descriptor["raw"]:
            self._keep(names[-1], tensor)
        if descriptor["pool"]:
            self._keep(names[0], self._pool_inputs(layer, names[0]))

    def _end(self, layer: int, image: int, cycles: np.ndarray):
        index = image * self.layers + layer
        end = cycles[-1] if len(cycles) else self.dones["cycle"][index]
        self.layer_cycles[image, layer] = int(end) - int(self.starts["cycle"][index]) + 1

    def _once(self, what: str, written: np.ndarray, shape: tuple[int, ...]):
        counts = np.bincount(written, minlength=int(np.prod(shape)))
        for fault, which in (("missing", counts == 0), ("written twice", counts > 1)):
            if which.any():
                place = np.unravel_index(int(np.argmax(which)), shape)
                place = tuple(int(index) for index in place)
                self.errors.append(
                    f"{what}: {which.sum()} elements {fault}, first (channel, y, x) = {place}"
                )

    def _pool_inputs(self, layer: int, name: str) -> np.ndarray:
        shape = self.shapes[name]
        size = shape.channels, shape.height, shape.width
        tensor = np.zeros((self.images, *size), np.uint8)
        cycles = self.pool["cycle"]
        for image in range(self.images):
            index = image * self.layers + layer
            start, end = self.starts["cycle"][index], self.dones["cycle"][index]
            pool = self.pool[(cycles >= start) & (cycles <= end)]
            place = pool["what"].astype(np.int64), pool["where"] & 255, pool["where"] >> 8
            inside = np.all([p < limit for p, limit in zip(place, size, strict=True)], axis=0)
            if not inside.all():
                self.errors.append(f"layer {name} image {image}: values outside the map are pooled")
            written = np.ravel_multi_index([p[inside] for p in place], size)
            tensor[image].flat[written] = pool["data"][inside, 0]
            self._once(f"layer {name} image {image} into the pooling", written, size)
        return tensor

    def _keep(self, name: str, tensor: np.ndarray):
        self.tensors[name] = tensor.view(np.int8) if self.shapes[name].signed else tensor

    def _input(self):
        """The writes that belong to no layer must be the images, one after the other."""
        order = np.flatnonzero(~self.owned)
        keys = input_keys(self.program)
        mine = _Places(self.program, keys).of(self.keys[order])
        if (mine < 0).any():
            first = int(self.keys[order][mine < 0][0])
            self.errors.append(
                f"{(mine < 0).sum()} writes belong nowhere, first to {self._say(first)}"
            )
        order, mine = order[mine >= 0], mine[mine >= 0]
        if len(mine) != self.images * keys.size:
            self.errors.append(
                f"input: {self.images * keys.size} channels must be loaded, not {len(mine)}"
            )
            return
        channels = self.shapes[INPUT].channels
        tensor = np.zeros((self.images, *keys.shape), np.uint8)
        for image, places in enumerate(mine.reshape(self.images, -1)):
            values = self.values[order].reshape(self.images, -1)[image]
            tensor[image].flat[places] = values
            self._once(f"input image {image}", places, keys.shape)
        if tensor[:, channels:].any():
            self.errors.append(f"input: channels from {channels} on must be 0")
        self._keep(INPUT, tensor[:, :channels])

    def _say(self, key: int) -> str:
        place, lane = divmod(key, self.program.config.word)
        bank, address = divmod(place, _ADDRESSES)
        return f"buffer {bank // BANKS}, bank {bank % BANKS}, address {address}, lane {lane}"


class _Places:
    """Finds which element of a tensor a key stands for."""

    def __init__(self, program: Program, keys: np.ndarray):
        self._table = np.full(2 * BANKS * _ADDRESSES * program.config.word, -1, np.int64)
        self._table[keys.ravel()] = np.arange(keys.size)

    def of(self, keys: np.ndarray) -> np.ndarray:
        """Flat index of each key, -1 for keys of other places."""
        return self._table[keys]
