"""Random networks and images: small, varied, and mostly within a configuration's means."""

import dataclasses

import numpy as np

from penstock.compiler import compile_network
from penstock.config import TAPS, Config
from penstock.errors import PenstockError
from penstock.gold.convolution import base_path, convolution
from penstock.gold.gate import gate
from penstock.gold.pool import average_pool
from penstock.gold.requantize import embed_channels, requantize
from penstock.network import (
    INPUT,
    Classifier,
    Convolution,
    Layer,
    Network,
    Pool,
    Residual,
    Shape,
)
from penstock.program import Program

ONE_ROW = Config(
    name="one-row",
    rows=1,
    word=1,
    accumulator_bits=24,
    map_side=16,
    weight_words=8192,
    weights="streamed",
    channels=320,
    program_words=512,
    queue_groups=16,
    pool_channels=2,
)
"""The smallest array."""

CYCLES = 12_000
"""Default size: about the array's cycles for one image with gating off."""
CHANNELS = (1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 16, 18, 20, 24)
IMAGES = 2  # that activations and partial sums are calibrated on


def random_images(rng: np.random.Generator, shape: Shape, count: int) -> np.ndarray:
    """Images (count, C, H, W) of a network's input shape, uint8 or int8, extremes included."""
    low, high = (-128, 127) if shape.signed else (0, 255)
    size = (count, shape.channels, shape.height, shape.width)
    images = rng.integers(low, high + 1, size)
    extreme = rng.random(size) < 0.1
    images[extreme] = rng.choice([low, high, 0], size)[extreme]
    return images.astype(np.int8 if shape.signed else np.uint8)


def random_network(rng: np.random.Generator, config: Config, cycles: int = CYCLES) -> Network:
    """A network of about at most ``cycles`` dense cycles an image; most fit the configuration.

    It mixes 3x3 and 1x1 convolutions of any stride and padding, gates of every density, residuals
    (identity, option A, a 1x1 shortcut; other scales; relu_before_add), small poolings, and ends
    with a fused global pooling, a classifier, both or neither.
    """
    return builder_for(rng, config, cycles).build()


def random_case(
    rng: np.random.Generator, config: Config, cycles: int = CYCLES, attempts: int = 50
) -> tuple[Program, np.ndarray]:
    """A compiled random network, the first that fits, and its IMAGES calibration images.

    Thresholds are partial sums of these images, so that ties happen on them.
    """
    for _ in range(attempts):
        builder = builder_for(rng, config, cycles)
        try:
            return compile_network(builder.build(), config), builder.tensors[INPUT]
        except PenstockError:
            continue
    raise AssertionError(f"none of {attempts} random networks fits {config.name}")


def builder_for(rng: np.random.Generator, config: Config, cycles: int) -> "Builder":
    """The builder of networks that fit the configuration's engine."""
    return (CompactBuilder if config.engine == "compact" else Builder)(rng, config, cycles)


def resnet20(rng: np.random.Generator, groups: int = 4, classes: int = 10) -> Network:
    """A network of ResNet-20's shape for 3x32x32 images: random weights, all blocks gated."""
    builder = Builder(rng, None, 0)
    builder.start(Shape(channels=3, height=32, width=32, signed=False))
    one = (1, 1, 1, 1)
    source = builder.convolution(INPUT, 16, padding=one, groups=0)
    for channels, stride in [(16, 1)] * 3 + [(32, 2)] + [(32, 1)] * 2 + [(64, 2)] + [(64, 1)] * 2:
        inner = builder.convolution(source, channels, stride=stride, padding=one, groups=groups)
        source = builder.convolution(
            inner, channels, padding=one, groups=groups, residual=(source, stride)
        )
    builder.global_pool(source)
    builder.classifier(classes)
    return builder.network("resnet20")


class Builder:
    """Appends layers and keeps the tensors that they compute on random images."""

    def __init__(self, rng: np.random.Generator, config: Config | None, cycles: int):
        self.rng, self.config, self.cycles = rng, config, cycles
        self.layers: list[Layer] = []

    def start(self, shape: Shape):
        self.input = shape
        self.tensors = {INPUT: self.some_images(shape)}

    def network(self, name: str) -> Network:
        return Network(name=name, input=self.input, input_scale=1.0, layers=tuple(self.layers))

    def build(self) -> Network:
        rng = self.rng
        self.start(self.some_shape())
        source = INPUT
        blocks = (
            *(self.plain, self.plain, self.pointwise),
            *(self.residual_block, self.shortcut_block, self.far_residual),
        )
        for _ in range(rng.integers(1, 6)):
            block = self.small_pool if rng.random() < 0.12 else rng.choice(blocks)
            before = len(self.layers)
            following = block(source)
            if self.cycles < 0 and before:  # too large: end here
                del self.layers[before:]
                break
            source = following
        self.tail()
        return self.network("random")

    def some_shape(self) -> Shape:
        rng, side = self.rng, min(14, self.config.map_side)
        return Shape(
            channels=int(rng.integers(1, 6)),
            height=int(rng.integers(3, side + 1)),
            width=int(rng.integers(3, side + 1)),
            signed=bool(rng.random() < 0.4),
        )

    def tail(self):
        """The end: a global pooling, a classifier, both or neither."""
        source = self.layers[-1].name
        kind = self.rng.random()
        if kind < 0.6 and isinstance(self.layers[-1], Convolution):
            self.global_pool(source)
        elif kind < 0.7:
            self.valid_to_one(source)
        if self.tensors[self.layers[-1].name].shape[2:] == (1, 1) and self.rng.random() < 0.85:
            self.classifier(int(self.rng.integers(1, 12)))

    def plain(self, source: str) -> str:
        return self.convolution(
            source,
            self.some_channels(),
            stride=self.some_stride(),
            padding=self.some_padding(source),
            groups=None,
        )

    def pointwise(self, source: str) -> str:
        if self.rng.random() < 0.3:  # more than one superword
            wide = int(self.config.word * TAPS * self.rng.uniform(1, 1.5))
            source = self.convolution(source, wide, kernel=1, stride=self.some_stride(), groups=0)
        channels = self.some_channels()
        return self.convolution(source, channels, kernel=1, stride=self.some_stride(), groups=None)

    def residual_block(self, source: str) -> str:
        """Two convolutions and the block's input, as it is or subsampled and extended by zeros."""
        rng, channels = self.rng, self.tensors[source].shape[1]
        stride = self.some_stride()
        inner_stride, outer_stride = rng.permutation([stride, 1])
        wider = channels + 2 * int(rng.integers(0, 5)) * int(rng.random() < 0.5)
        inner = self.convolution(
            source,
            self.some_channels(),
            stride=int(inner_stride),
            padding=self.same_padding(),
            groups=None,
        )
        return self.convolution(
            inner,
            wider,
            stride=int(outer_stride),
            padding=self.same_padding(),
            groups=None,
            residual=(source, stride),
        )

    def shortcut_block(self, source: str) -> str:
        """Two convolutions and a 1x1 convolution of the block's input."""
        stride, channels = self.some_stride(), self.some_channels()
        shortcut = self.convolution(source, channels, kernel=1, stride=stride, groups=0)
        inner = self.convolution(
            source, self.some_channels(), stride=stride, padding=self.same_padding(), groups=None
        )
        return self.convolution(
            inner, channels, padding=self.same_padding(), groups=None, residual=(shortcut, 1)
        )

    def far_residual(self, source: str) -> str:
        """A convolution that adds any earlier tensor of the same size."""
        size = self.tensors[source].shape[2:]
        earlier = [
            name
            for name, tensor in self.tensors.items()
            if name != source and tensor is not None and tensor.shape[2:] == size
        ]
        if not earlier:
            return self.residual_block(source)
        residual = str(self.rng.choice(earlier))
        return self.convolution(
            source,
            self.tensors[residual].shape[1] + 2 * int(self.rng.integers(0, 2)),
            padding=self.same_padding(),
            groups=None,
            residual=(residual, 1),
        )

    def small_pool(self, source: str) -> str:
        height, width = self.tensors[source].shape[2:]
        window = tuple(int(min(self.rng.integers(1, 4), side)) for side in (height, width))
        top, left, bottom, right = (int(self.rng.integers(0, size)) for size in (*window, *window))
        return self.pool(source, window, self.some_stride(), (top, left, bottom, right))

    def global_pool(self, source: str) -> str:
        return self.pool(source, None, 1, (0, 0, 0, 0))

    def valid_to_one(self, source: str):
        """A small map becomes 1x1 by a 3x3 convolution without padding."""
        if self.tensors[source].shape[2:] == (3, 3):
            self.convolution(source, self.some_channels(), groups=0)

    def some_channels(self) -> int:
        return int(self.rng.choice(CHANNELS))

    def some_stride(self) -> int:
        return 2 if self.rng.random() < 0.3 else 1

    def same_padding(self) -> tuple[int, int, int, int]:
        """Two rows and two columns in all."""
        top, left = self.rng.choice(3, 2, p=(0.15, 0.7, 0.15))
        return int(top), int(left), int(2 - top), int(2 - left)

    def some_padding(self, source: str) -> tuple[int, int, int, int]:
        if self.rng.random() < 0.6:
            return (1, 1, 1, 1)
        padding = self.rng.integers(0, 3, 4)
        height, width = self.tensors[source].shape[2:]
        if height + padding[0] + padding[2] < 3 or width + padding[1] + padding[3] < 3:
            return (1, 1, 1, 1)
        return tuple(int(side) for side in padding)

    def some_groups(self, inputs: int, outputs: int) -> int:
        """Groups that divide the channels: 0 for no gate, 1 for a gate that judges nothing."""
        if self.rng.random() < 0.2:
            return 0
        common = np.gcd(inputs, outputs)
        limit = self.config.groups
        divisors = [p for p in range(2, min(common, limit) + 1) if common % p == 0]
        return int(self.rng.choice(divisors)) if divisors else int(self.rng.integers(0, 2))

    def convolution(
        self,
        source: str,
        channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        groups: int | None,
        residual: tuple[str, int] | None = None,
    ) -> str:
        """Append a convolution; ``groups`` None draws a gate, 0 asks for none."""
        rng, x = self.rng, self.tensors[source]
        if groups is None:
            groups = self.some_groups(x.shape[1], channels)
        weights = self.some_weights((channels, x.shape[1], kernel, kernel))
        psum = convolution(x, weights, stride, padding)
        base = base_path(x, weights, groups, stride, padding) if groups else psum
        thresholds = self.some_thresholds(base) if groups else None
        shift, multipliers = self.some_scale(psum, most=14 if residual else 31)
        low, high = self.some_bounds()
        unit = 1 << shift
        name = f"layer{len(self.layers)}"
        layer = Convolution(
            name=name,
            source=source,
            weights=weights,
            multipliers=multipliers,
            bias=self.some_bias(unit, channels),
            shift=shift,
            low=low,
            high=high,
            stride=stride,
            padding=padding,
            groups=max(groups, 1),
            thresholds=thresholds,
            residual=residual
            and Residual(
                source=residual[0],
                stride=residual[1],
                multiplier=int(rng.uniform(-1, 2) * unit) if rng.random() < 0.8 else unit,
            ),
            relu_before_add=bool(residual and rng.random() < 0.4),
        )
        self.count_cycles(layer, psum.shape[2] * psum.shape[3])
        return self.append(layer, self.activations(layer, psum, base))

    def count_cycles(self, layer: Convolution, pixels: int):
        if self.config:
            outputs, inputs, kernel, _ = layer.weights.shape
            steps = -(-inputs // (self.config.word * (TAPS if kernel == 1 else 1)))
            self.cycles -= outputs * steps * -(-pixels // self.config.rows)

    def append(self, layer: Layer, tensor: np.ndarray | None = None) -> str:
        """Append a layer that computes ``tensor`` on the calibration images."""
        self.layers.append(layer)
        self.tensors[layer.name] = tensor
        return layer.name

    def activations(self, layer: Convolution, psum: np.ndarray, base: np.ndarray) -> np.ndarray:
        """Output of a convolution: sums ``psum`` where the gate opens, ``base`` elsewhere."""
        if layer.thresholds is not None:
            psum = np.where(gate(base, layer.thresholds), psum, base)
        residual, multiplier = None, 0
        if layer.residual is not None:
            residual = self.tensors[layer.residual.source]
            residual = embed_channels(residual, psum.shape[1], layer.residual.stride)
            multiplier = layer.residual.multiplier
        return requantize(
            psum,
            layer.multipliers,
            layer.bias,
            layer.shift,
            layer.low,
            layer.high,
            residual,
            multiplier,
            layer.relu_before_add,
        )

    def some_images(self, shape: Shape) -> np.ndarray:
        return random_images(self.rng, shape, IMAGES)

    def some_bias(self, unit: int, channels: int) -> np.ndarray:
        """Biases (channels,) int64 of -60 to 90 times ``unit``."""
        return self.rng.integers(-60 * unit, 90 * unit, channels)

    def some_weights(self, shape: tuple[int, ...]) -> np.ndarray:
        largest = int(self.rng.choice([7, 60, 127]))
        weights = self.rng.integers(-largest, largest + 1, shape)
        if self.rng.random() < 0.2:
            weights[self.rng.random(shape) < 0.02] = -128
        return weights.astype(np.int8)

    def some_thresholds(self, psum: np.ndarray) -> np.ndarray:
        """Thresholds (O,) int32: quantiles, so that ties happen, or always on or off."""
        channels = psum.shape[1]
        sums = psum.transpose(1, 0, 2, 3).reshape(channels, -1)
        limit = 1 << (self.config.accumulator_bits if self.config else 26) - 1
        kind = self.rng.random()
        if kind < 0.1:
            return np.full(channels, self.rng.choice([-limit, limit - 1]), np.int32)
        density = self.rng.uniform(0, 1, channels) if kind < 0.5 else self.rng.uniform(0, 1)
        places = np.broadcast_to(
            ((1 - np.asarray(density)) * (sums.shape[1] - 1)).astype(int), channels
        )
        thresholds = np.sort(sums, axis=1)[np.arange(channels), places]
        extreme = self.rng.random(channels) < 0.1
        thresholds[extreme] = self.rng.choice([-limit, limit - 1], channels)[extreme]
        return thresholds.astype(np.int32)

    def some_scale(self, psum: np.ndarray, most: int = 31) -> tuple[int, np.ndarray]:
        """(shift, multipliers) that spread the sums over some 100 values."""
        factor = self.rng.uniform(20, 80) / max(float(psum.std()), 1.0)
        largest = int(np.clip(np.log2(2**14 / factor), 1, most))
        smallest = int(np.clip(np.log2(4 / factor), 1, largest))
        shift = int(self.rng.integers(smallest, largest + 1))
        spread = self.rng.uniform(0.5, 1.5, psum.shape[1]) * self.rng.choice(
            [1, 1, 1, -1], psum.shape[1]
        )
        return shift, np.rint(factor * 2**shift * spread).clip(-(2**15), 2**15 - 1).astype(np.int16)

    def some_bounds(self) -> tuple[int, int]:
        bounds = [(0, 255), (0, 255), (0, 127), (-128, 127), (-128, 127), (3, 200), (-20, 90)]
        return bounds[self.rng.integers(len(bounds))]

    def pool(
        self,
        source: str,
        window: tuple[int, int] | None,
        stride: int,
        padding: tuple[int, int, int, int],
    ) -> str:
        x = self.tensors[source]
        height, width = window or x.shape[2:]
        shift = int(self.rng.integers(8, 15))
        multiplier = int(2**shift * self.rng.choice([1, 0.7, 1.5, -1], p=(0.7, 0.1, 0.1, 0.1)))
        low, high = self.pool_bounds(x.dtype == np.int8)
        layer = Pool(
            name=f"layer{len(self.layers)}",
            source=source,
            kind="average",
            window=window,
            stride=stride,
            padding=padding,
            multiplier=multiplier // (height * width),
            shift=shift,
            low=low,
            high=high,
        )
        tensor = average_pool(
            x, (height, width), layer.multiplier, shift, low, high, stride, padding
        )
        return self.append(layer, tensor)

    def pool_bounds(self, signed: bool) -> tuple[int, int]:
        return (-128, 127) if signed else (0, 255)

    def classifier(self, classes: int) -> str:
        source = self.layers[-1].name
        weights = self.some_weights((classes, self.tensors[source].shape[1]))
        bias = self.rng.integers(-(2**16), 2**16, classes).astype(np.int32)
        name = f"layer{len(self.layers)}"
        return self.append(Classifier(name=name, source=source, weights=weights, bias=bias))


class CompactBuilder(Builder):
    """Networks for the compact engine: unsigned inputs, full bounds, biases of 31 bits.

    A 1x1 shortcut may be signed, since only residuals read it.
    """

    signed = False  # the next convolution's output may be

    def some_shape(self) -> Shape:
        return dataclasses.replace(super().some_shape(), signed=False)

    def some_bounds(self) -> tuple[int, int]:
        return (-128, 127) if self.signed and self.rng.random() < 0.7 else (0, 255)

    def some_scale(self, psum: np.ndarray, most: int = 31) -> tuple[int, np.ndarray]:
        return super().some_scale(psum, min(most, 23))

    def some_channels(self) -> int:
        return int(self.rng.choice((*CHANNELS, 32, 40)))

    def shortcut_block(self, source: str) -> str:
        self.signed = True
        return super().shortcut_block(source)

    def append(self, layer: Layer, tensor: np.ndarray | None = None) -> str:
        self.signed = False
        return super().append(layer, tensor)

    def far_residual(self, source: str) -> str:
        return self.residual_block(source)

    def pool_bounds(self, signed: bool) -> tuple[int, int]:
        return 0, 255
