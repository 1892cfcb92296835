"""Random configurations, and random networks, images and disturbances for each of them."""

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from random_networks import CHANNELS, Builder, random_images

from penstock.compiler import compile_network
from penstock.config import BLOCKS, TAPS, Config, preset
from penstock.errors import PenstockError
from penstock.network import INPUT, Classifier, Convolution, Network, Pool, Shape
from penstock.sim.simulate import Job

WORDS = 1, 2, 4, 8, 16
SIZES = (54, 81, 144), (0.6, 0.28, 0.12)
"""Most multipliers of a random array, and how often."""

PRESETS = "tiny", "ulx3s-85f"
ATTEMPTS = 40
"""Networks that are drawn, ever smaller, until one fits."""

PRESET_SHARE, EXTREME_SHARE, NARROW_SHARE = 0.1, 0.25, 0.4


class NothingFits(Exception):
    """None of so many random networks fits a configuration."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A job, what it costs, and how many networks were refused before it was found."""

    index: int  # in its round
    job: Job
    cycles: int  # about, of all images
    refused: int


def random_config(rng: np.random.Generator) -> Config:
    """A configuration within the rules, small enough to be built in a minute or so."""

    def one(*values):
        return values[rng.integers(len(values))]

    def between(low: int, high: int) -> int:
        """Integers of all magnitudes."""
        return round(math.exp(rng.uniform(math.log(low), math.log(high))))

    def bits() -> int:
        return int(rng.integers(2, 9)) if rng.random() < NARROW_SHARE else 8

    weights, axi_bits = one("resident", "streamed"), one(32, 64, 128)
    if rng.random() < PRESET_SHARE:
        return dataclasses.replace(preset(one(*PRESETS)), weights=weights, axi_bits=axi_bits)
    most = rng.choice(SIZES[0], p=SIZES[1])
    rows, word = one(*((r, w) for r in BLOCKS for w in WORDS if r * TAPS * w <= most))
    return Config(
        name="fuzz",
        rows=rows,
        word=word,
        activation_bits=bits(),
        weight_bits=bits(),
        accumulator_bits=int(rng.integers(18, 33)),
        map_words=between(16, 2048),
        map_side=one(16, 32, 64, 128),
        weight_words=between(64, 8192),
        weights=weights,
        channels=between(16, 1024),
        groups=one(1, *[between(2, 64)] * 5),
        program_words=between(64, 2048),
        queue_groups=one(8, 8, 16, 32, 64, 128),
        write_groups=one(64, 64, 128, 256),
        pool_channels=one(2, 4, 8, 16),
        axi_bits=axi_bits,
    )


class NarrowBuilder(Builder):
    """Networks for any configuration: numbers of its bits, sums of its accumulators.

    ``size`` from 1 down to 0 makes maps and channels smaller; ``classified`` networks end with a
    classifier.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        config: Config,
        cycles: int,
        size: float,
        classified: bool = False,
    ):
        super().__init__(rng, config, cycles)
        self.size, self.classified = size, classified
        self.narrowed = 8 - config.activation_bits

    def tail(self):
        if not self.classified:
            return super().tail()
        if isinstance(self.layers[-1], Convolution):
            self.global_pool(self.layers[-1].name)
        if self.tensors[self.layers[-1].name].shape[2:] == (1, 1):
            self.classifier(int(self.rng.integers(1, 12)))

    def some_shape(self) -> Shape:
        rng, limit = self.rng, self.config.map_side
        kind = rng.random()
        if kind < 0.1:  # thin
            sides = rng.permutation([rng.integers(1, 4), rng.integers(1, limit + 1)])
        else:
            sides = rng.integers(1, min(14 if kind < 0.8 else 40, limit) + 1, 2)
        height, width = (max(1, round(float(side) * self.size)) for side in sides)
        most = 5 if rng.random() < 0.8 else 3 * TAPS
        channels = max(1, round(rng.integers(1, most + 1) * self.size))
        return Shape(channels=channels, height=height, width=width, signed=bool(rng.random() < 0.4))

    def some_channels(self) -> int:
        rng = self.rng
        channels = rng.choice(CHANNELS) if rng.random() < 0.9 else rng.integers(1, 65)
        return max(1, round(float(channels) * self.size))

    def some_images(self, shape: Shape) -> np.ndarray:
        return super().some_images(shape) >> self.narrowed

    def some_bounds(self) -> tuple[int, int]:
        low, high = super().some_bounds()
        return low >> self.narrowed, high >> self.narrowed

    def pool_bounds(self, signed: bool) -> tuple[int, int]:
        low, high = super().pool_bounds(signed)
        return low >> self.narrowed, high >> self.narrowed

    def some_bias(self, unit: int, channels: int) -> np.ndarray:
        return super().some_bias(max(1, unit >> self.narrowed), channels)

    def some_scale(self, psum: np.ndarray, most: int = 31) -> tuple[int, np.ndarray]:
        return super().some_scale(psum.astype(np.int64) << self.narrowed, most)

    def some_weights(self, shape: tuple[int, ...]) -> np.ndarray:
        rng, config = self.rng, self.config
        limit = 1 << config.weight_bits - 1
        room = (1 << config.accumulator_bits - 1) - 2
        most = max(1, room // (math.prod(shape[1:]) << config.activation_bits))
        largest = min(most, int(rng.choice([max(1, limit // 16), limit // 2, limit - 1])))
        weights = rng.integers(-largest, largest + 1, shape)
        if rng.random() < 0.2 and limit <= most:
            weights[rng.random(shape) < 0.02] = -limit
        if rng.random() < 0.1:
            weights[rng.random(shape) < 0.5] = 0
        return weights.astype(np.int8)


def random_case(seed: int, index: int, config: Config, classified: bool = False) -> Case:
    """Case ``index`` of a round: a network that fits, images with ties and others, disturbances.

    The two calibration images of the network, on which sums equal thresholds, come first. Raises
    NothingFits, and whatever a compiler raises that does not refuse by PenstockError.
    """
    rng = np.random.default_rng([seed, 1 + index])
    for attempt in range(ATTEMPTS):
        cycles = round(math.exp(rng.uniform(math.log(1000), math.log(30_000))))
        builder = NarrowBuilder(rng, config, cycles, 0.92**attempt, classified)
        try:
            network = builder.build()
            program = compile_network(network, config)
        except PenstockError as error:
            check_refusal(error)
            continue
        if rng.random() < EXTREME_SHARE:
            with_extremes = extreme_network(rng, network)
            try:
                program = compile_network(with_extremes, config)
            except PenstockError as error:
                check_refusal(error)
        images = _some_images(rng, builder)
        job = Job(
            program=program,
            images=images,
            gating=bool(rng.random() < 0.8),
            latency=int(rng.integers(1, 64)) if rng.random() < 0.9 else 300,
            stalls=float(rng.choice([0.0, 0.05, 0.3, 0.7])),
        )
        return Case(
            index=index, job=job, cycles=(cycles - builder.cycles) * len(images), refused=attempt
        )
    raise NothingFits(f"none of {ATTEMPTS} networks fits {config}")


def check_refusal(error: PenstockError):
    """A refusal is one line that says something."""
    message = str(error)
    assert message and "\n" not in message and len(message) < 400, f"refusal: {message!r}"


def _some_images(rng: np.random.Generator, builder: NarrowBuilder) -> np.ndarray:
    """1 to 6 images: with ties, random, and constant ones."""
    images = builder.tensors[INPUT]
    kind = rng.random()
    if kind < 0.2:
        return images[: rng.integers(1, 3)]
    more = random_images(rng, builder.input, int(rng.integers(1, 5))) >> builder.narrowed
    if kind < 0.4:
        low, high = images.min(), images.max()
        more[0] = rng.choice([low, high, 0])
    return np.concatenate([images, more.astype(images.dtype)])


def extreme_network(rng: np.random.Generator, network: Network) -> Network:
    """The network with extreme numbers in one or two fields of its convolutions.

    It may be one that the compiler refuses.
    """
    layers = list(network.layers)
    places = [i for i, layer in enumerate(layers) if isinstance(layer, Convolution)]
    for _ in range(rng.integers(1, 3)):
        if places:
            place = int(rng.choice(places))
            layers[place] = _extreme(rng, layers[place])
    return dataclasses.replace(network, layers=tuple(layers))


def _extreme(rng: np.random.Generator, layer: Convolution) -> Convolution:
    channels = len(layer.weights)
    kind = rng.integers(6)
    if kind == 0:
        some = rng.integers(-(2**15), 2**15, channels)
        ends = rng.choice([-(2**15), 2**15 - 1, 0, 1, -1], channels)
        multipliers = np.where(rng.random(channels) < 0.5, some, ends)
        return dataclasses.replace(layer, multipliers=multipliers.astype(np.int16))
    if kind == 1:
        return dataclasses.replace(layer, shift=int(rng.choice([1, 2, 24, 30, 31])))
    if kind == 2:
        large = rng.choice([-(2**39), 2**39 - 1, -(2**38), 2**38, 0], channels)
        return dataclasses.replace(layer, bias=np.where(rng.random(channels) < 0.5, large, 0))
    if kind == 3:
        return dataclasses.replace(layer, high=layer.low)
    if kind == 4 and layer.thresholds is not None:
        ends = rng.choice([-(2**31), 2**31 - 1, -(2**15), 2**15 - 1, 0, -1], channels)
        return dataclasses.replace(layer, thresholds=ends.astype(np.int32))
    weights = np.where(rng.random(layer.weights.shape) < 0.5, layer.weights.min(), 0)
    return dataclasses.replace(layer, weights=weights.astype(np.int8))


def features(job: Job) -> Counter:
    """What a job has of that which is varied, for the records."""
    network = job.program.network
    found = {
        f"gating {'on' if job.gating else 'off'}",
        f"stalls {job.stalls:g}",
        f"images {len(job.images)}",
        f"input {'signed' if network.input.signed else 'unsigned'}",
        f"layers {min(len(network.layers) // 4 * 4, 16)}+",
    }
    for layer in network.layers:
        if isinstance(layer, Convolution):
            found.add(f"{layer.weights.shape[2]}x{layer.weights.shape[2]}")
            found.add(f"stride {layer.stride}")
            if layer.thresholds is not None and layer.groups > 1:
                found.add("gated layer")
            if layer.residual is not None:
                found.add("residual")
            if layer.relu_before_add:
                found.add("relu_before_add")
        elif isinstance(layer, Pool):
            fused = any(layer.name in names[1:] for names in job.program.layer_names)
            found.add("global pooling" if fused else "small pooling")
        elif isinstance(layer, Classifier):
            found.add("classifier")
    return Counter(found)
