"""Executes a program on simulated banks, from its records alone; shares no code with the compiler.

It follows docs/architecture.md: pointers walk the step words, tables give cells and phases, nine
banks hold the words. Along the way it asserts what the hardware relies on: the taps of a window and
the pixels of a base block lie in distinct banks, partial sums fit, and nothing that is read was
overwritten (every byte remembers the image and the tensor that it belongs to).
"""

from dataclasses import dataclass, field

import numpy as np

from penstock.config import BANKS, TAPS
from penstock.network import INPUT
from penstock.program import PARAMETER, Program

ADDRESSES = 1 << 11  # addresses wrap as they do in 11-bit fields
NOBODY = -1


@dataclass
class Execution:
    """One image: tensors (C, H, W), decisions (C, H, W) bool, the classifier's results."""

    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    decisions: dict[str, np.ndarray] = field(default_factory=dict)
    results: np.ndarray | None = None


def place(y, x, word, height: int, width: int):
    """(bank, address behind the base) of a channel word of a pixel; the architecture's formula."""
    n = x + width * (y // 3)
    plane = -(-(width * -(-height // 3)) // 3)
    return 3 * ((y % 3 + word // 3) % 3) + (n + word) % 3, word * plane + n // 3


class Interpreter:
    """Two buffers, the weight memory, and the program's layers."""

    def __init__(self, program: Program):
        self.program = program
        self.config = program.config
        shape = (2, BANKS, ADDRESSES, self.config.word)
        self.bytes = np.zeros(shape, np.uint8)
        self.owner = np.full(shape, NOBODY)  # image * tensors + tensor
        self.names = [INPUT, *(names[-1] for names in program.layer_names)]
        self.shapes = program.network.shapes()
        self.words = program.to_words()
        self.weights = np.zeros((self.config.weight_words, self.config.lanes), np.int8)
        self.loaded = np.full(self.config.weight_words, NOBODY)  # layer whose weights are there

    def run(self, images: np.ndarray, gating: bool = True) -> list[Execution]:
        """Run images (N, C, H, W), with the next image loaded as early as the program allows."""
        layers = range(len(self.program.descriptors))
        streamed = self.config.weights == "streamed"
        for layer in layers[:1] if streamed else layers:
            self._load_weights(layer)
        executions, loaded = [], -1
        for image in range(len(images)):
            execution = Execution()
            if loaded < image:
                loaded = image
                self._load_image(images[image], image)
            for layer in layers:
                if streamed and len(layers) > 1:
                    self._load_weights((layer + 1) % len(layers))
                if self.program.descriptors[layer]["load_input"] and image + 1 < len(images):
                    loaded = image + 1
                    self._load_image(images[loaded], loaded)
                _LayerRun(self, layer, image, gating).run(execution)
            execution.tensors[INPUT] = images[image]
            executions.append(execution)
        return executions

    def tag(self, image: int, name: str) -> int:
        """What marks the bytes of one tensor of one image."""
        return image * len(self.names) + self.names.index(name)

    def _load_weights(self, layer: int):
        descriptor = self.program.descriptors[layer]
        beats, first = self.config.weight_beats, descriptor["weight_offset"]
        count, address = descriptor["weight_words"], descriptor["weight_address"]
        stored = self.words[first : first + count * beats].view(np.int8).reshape(count, -1)
        assert address + count <= self.config.weight_words
        self.weights[address : address + count] = stored[:, : self.config.lanes]
        self.loaded[address : address + count] = layer

    def _load_image(self, image: np.ndarray, index: int):
        header, word = self.program.header, self.config.word
        channels, height, width = image.shape
        assert (height, width) == (header["input_height"], header["input_width"])
        assert -(-channels // word) == header["input_planes"]
        c, y, x = np.indices(image.shape)
        bank, address = place(y, x, c // word, height, width)
        where = (header["input_buffer"], bank, header["input_base"] + address, c % word)
        assert where[2].max() < self.config.map_words
        self.bytes[where] = image.view(np.uint8)
        self.owner[where] = self.tag(index, INPUT)


class _LayerRun:
    """One layer of one image."""

    def __init__(self, machine: Interpreter, layer: int, image: int, gating: bool):
        self.machine, self.layer, self.image = machine, layer, image
        self.program, self.config = machine.program, machine.config
        self.descriptor = self.program.descriptors[layer]
        self.gating = gating and bool(self.descriptor["gated"])
        self.groups = self.program.layer_groups(layer)
        self.parameters = self.program.layer_parameters(layer)
        rows, columns = self.program.layer_rows(layer), self.program.layer_columns(layer)
        self.rows = {key: np.array([row[key] for row in rows])[:, None] for key in rows[0]}
        self.columns = {
            key: np.array([column[key] for column in columns])[None, :] for key in columns[0]
        }
        names = self.program.layer_names[layer]
        self.name, self.stored_name = names[0], names[-1]
        network_layer = next(x for x in self.program.network.layers if x.name == self.name)
        self.source = network_layer.source
        self.residual = getattr(network_layer, "residual", None)
        self.next_weight = self.descriptor["weight_address"]
        shape = machine.bytes.shape
        self.window_reads = np.zeros(shape, bool)
        self.residual_reads = np.full(shape, NOBODY)  # number of the output that reads a byte
        self.writes = np.full(shape, NOBODY)  # number of the output that is written there
        self._locate_windows()
        self._locate_outputs()

    def run(self, execution: Execution):
        d = self.descriptor
        height, width = d["height"], d["width"]
        outputs = np.zeros((d["channels"], height, width), np.int64)
        decisions = np.zeros(outputs.shape, bool)
        pooled = []
        for channel in range(d["channels"]):
            psum, decisions[channel] = self._sum(channel)
            parameter = self.parameters[channel]
            if d["raw"]:
                outputs[channel] = psum + parameter["bias"]
                continue
            outputs[channel] = self._requantize(channel, psum)
            if d["pool"]:
                pooled.append(self._pool(outputs[channel]))
                self._write(channel, np.full((1, 1), pooled[-1]), slice(0, 1))
            else:
                self._write(channel, outputs[channel], slice(None))
        assert self.next_weight == d["weight_address"] + d["weight_words"]
        self._check_overwriting()
        if self.gating:
            execution.decisions[self.name] = decisions
        if d["raw"]:
            execution.results = execution.tensors[self.name] = outputs.ravel()
            return
        execution.tensors[self.name] = outputs
        execution.tensors[self.stored_name] = self._read_back()
        assert not pooled or (execution.tensors[self.stored_name].ravel() == pooled).all()

    def _locate_windows(self):
        """Bank row and column, cell and validity of every tap of every window, (H, W, 9)."""
        taps = np.arange(TAPS)
        row = {key: value[:, :, None] for key, value in self.rows.items()}
        column = {key: value[:, :, None] for key, value in self.columns.items()}
        if self.descriptor["pointwise"]:
            i = j = np.zeros(TAPS, int)
            self.tap_a, self.tap_b = taps // 3, taps % 3
            self.tap_address = taps * self.descriptor["plane"]
        else:
            i, j = taps // 3, taps % 3
            self.tap_a = self.tap_b = self.tap_address = np.zeros(TAPS, int)
        next_third = row["residue"] + i >= 3
        phase = np.where(next_third, row["phase_1"], row["phase_0"]) + column["phase"] + j
        cell = np.where(next_third, row["cell_1"], row["cell_0"]) + column["cell"] + phase // 3
        self.u = np.broadcast_to((row["residue"] + i) % 3, phase.shape)
        self.v = phase % 3
        self.cell = cell % ADDRESSES
        self.valid = (row["valid"] >> i & column["valid"] >> j & 1).astype(bool)
        banks = np.sort(3 * ((self.u + self.tap_a) % 3) + (self.v + self.tap_b) % 3, axis=2)
        assert (banks == np.arange(TAPS)).all(), "two taps of a window share a bank"

    def _pixels(self, prefix: str):
        """Bank row, bank column and cell of every pixel of the output or residual map."""
        row = {key: self.rows[f"{prefix}_{key}"] for key in ("residue", "cell", "phase")}
        column = {key: self.columns[f"{prefix}_{key}"] for key in ("cell", "phase")}
        phase = row["phase"] + column["phase"]
        u = np.broadcast_to(row["residue"], phase.shape)
        return u, phase % 3, row["cell"] + column["cell"] + phase // 3

    def _locate_outputs(self):
        self.output_pixels = self._pixels("output")
        self.residual_pixels = self._pixels("residual")
        d = self.descriptor
        assert d["block_rows"] == -(-d["height"] // self.config.block[0])
        assert d["block_columns"] == -(-d["width"] // self.config.block[1])
        if d["pool"] or d["raw"]:
            return
        u, v, _ = self.output_pixels
        bank = 3 * u + v
        high, wide = self.config.block
        for y in range(0, d["height"], high):
            for x in range(0, d["width"], wide):
                block = bank[y : y + high, x : x + wide].ravel()
                assert len(set(block)) == len(block), "two pixels of a block share a bank"

    def _steps(self, group: dict[str, int], phase: str):
        """(address, a, b) of each step word of one phase."""
        address, a, b = (group[f"{phase}_{part}"] for part in ("address", "a", "b"))
        for step in range(group[f"{phase}_steps"]):
            if phase == "conditional" and step and step == group["before"]:
                address, a, b = (group[f"jump_{part}"] for part in ("address", "a", "b"))
            yield address, a, b
            address += self.descriptor["step"]
            if not self.descriptor["pointwise"]:
                a, b = (a + (b == 2)) % 3, (b + 1) % 3

    def _sum(self, channel: int) -> tuple[np.ndarray, np.ndarray]:
        """(sums, decisions) of one output channel, both (H, W)."""
        group = self.groups[channel // self.descriptor["group_channels"]]
        psum = np.zeros(self.valid.shape[:2], np.int64)
        everywhere = np.ones(psum.shape, bool)
        for step in self._steps(group, "base"):
            self._multiply(step, psum, everywhere)
        decision = everywhere
        if self.gating:
            decision = psum > self.parameters[channel]["threshold"]
        for step in self._steps(group, "conditional"):
            self._multiply(step, psum, decision)
        return psum, decision

    def _multiply(self, step: tuple[int, int, int], psum: np.ndarray, active: np.ndarray):
        """Add one step's products to the active sums."""
        address, a, b = step
        assert self.machine.loaded[self.next_weight] == self.layer, "weights were overwritten"
        weights = self.machine.weights[self.next_weight].reshape(TAPS, -1).astype(np.int64)
        self.next_weight += 1
        bank = 3 * ((self.u + self.tap_a + a) % 3) + (self.v + self.tap_b + b) % 3
        addresses = (address + self.tap_address + self.cell) % ADDRESSES
        where = (self.descriptor["input_buffer"], bank, addresses)
        needed = self.valid[..., None] & (weights != 0) & active[..., None, None]
        owners = self.machine.owner[where]
        assert (owners[needed] == self.machine.tag(self.image, self.source)).all()
        pixel, tap, lane = np.nonzero(needed.reshape(-1, *weights.shape))
        flat = (bank.reshape(-1, TAPS)[pixel, tap], addresses.reshape(-1, TAPS)[pixel, tap], lane)
        self.window_reads[(self.descriptor["input_buffer"], *flat)] = True
        data = self.machine.bytes[where]
        data = data.view(np.int8) if self.descriptor["input_signed"] else data
        products = np.where(needed, data * weights, 0)
        psum += products.sum(axis=(2, 3))
        limit = 1 << self.config.accumulator_bits - 1
        assert (-limit <= psum).all() and (psum < limit).all()

    def _requantize(self, channel: int, psum: np.ndarray) -> np.ndarray:
        d, parameter = self.descriptor, self.parameters[channel]
        total = psum * parameter["multiplier"] + parameter["bias"]
        if d["relu_before_add"]:
            total = np.maximum(total, 0)
        if d["residual"] and parameter["residual_valid"]:
            total = total + self._residual(channel) * d["residual_multiplier"]
        total += 1 << d["shift"] - 1
        assert (total == total << 20 >> 20).all(), "the sum exceeds 44 bits"
        return np.clip(total >> d["shift"], d["low"], d["high"])

    def _residual(self, channel: int) -> np.ndarray:
        parameter = self.parameters[channel]
        where = self._channel_place("residual", parameter, 1 - self.descriptor["input_buffer"])
        tag = self.machine.tag(self.image, self.residual.source)
        assert (self.machine.owner[where] == tag).all(), "the residual was overwritten"
        self.residual_reads[where] = self._numbers(channel)
        data = self.machine.bytes[where]
        return (data.view(np.int8) if self.descriptor["residual_signed"] else data).astype(int)

    def _channel_place(self, prefix: str, parameter: dict[str, int], buffer: int):
        u, v, cell = self.output_pixels if prefix == "output" else self.residual_pixels
        bank = 3 * ((u + parameter[f"{prefix}_a"]) % 3) + (v + parameter[f"{prefix}_b"]) % 3
        address = parameter[f"{prefix}_address"] + cell
        assert address.max() < self.config.map_words
        return buffer, bank, address, parameter[f"{prefix}_lane"]

    def _numbers(self, channel: int) -> np.ndarray:
        """A number for each output of a channel, (H, W)."""
        size = self.descriptor["height"] * self.descriptor["width"]
        shape = (self.descriptor["height"], self.descriptor["width"])
        return channel * size + np.arange(size).reshape(shape)

    def _pool(self, outputs: np.ndarray) -> int:
        d = self.descriptor
        assert d["pool_pixels"] == outputs.size
        total = int(outputs.sum()) * d["pool_multiplier"] + (1 << d["pool_shift"] - 1)
        return min(max(total >> d["pool_shift"], d["pool_low"]), d["pool_high"])

    def _write(self, channel: int, values: np.ndarray, part: slice):
        buffer, bank, address, lane = self._channel_place(
            "output", self.parameters[channel], self.descriptor["output_buffer"]
        )
        if self.descriptor["pool"]:
            assert len(set(bank.ravel())) == len(set(address.ravel())) == 1
        where = (buffer, bank[part, part], address[part, part], lane)
        assert (self.writes[where] == NOBODY).all(), "two outputs have one place"
        self.writes[where] = self._numbers(channel)[part, part]
        self.machine.bytes[where] = (values & 0xFF).astype(np.uint8)
        self.machine.owner[where] = self.machine.tag(self.image, self.stored_name)

    def _check_overwriting(self):
        """In whatever order outputs come, no write may hit a byte that another output reads."""
        written = self.writes != NOBODY
        assert not (written & self.window_reads).any()
        shared = written & (self.residual_reads != NOBODY)
        assert (self.writes[shared] == self.residual_reads[shared]).all()

    def _read_back(self) -> np.ndarray:
        """The stored map (C, H, W), found by the architecture's formula instead of the tables."""
        shape = self.machine.shapes[self.stored_name]
        c, y, x = np.indices((shape.channels, shape.height, shape.width))
        word = self.config.word
        bank, address = place(y, x, c // word, shape.height, shape.width)
        base = self.parameters[0]["output_address"]
        where = (self.descriptor["output_buffer"], bank, base + address, c % word)
        assert (self.machine.owner[where] == self.machine.tag(self.image, self.stored_name)).all()
        data = self.machine.bytes[where]
        return data.view(np.int8) if shape.signed else data


assert len(PARAMETER.words) == 2  # the records that this file was written for
