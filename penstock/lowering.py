"""Lowering: the layers of a network become operations, each run by the hardware as one layer.

Everything that the hardware cannot compute is refused here, with the layer's name; what does not
fit the memories is refused by penstock.placement and penstock.compiler.
"""

from dataclasses import dataclass, field

import numpy as np

from penstock.config import TAPS, Config
from penstock.errors import PenstockError
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

KERNEL = 3
BIAS_BITS = 40
"""Bits of a signed bias."""
RAW_BITS = 32
"""Bits of a signed result of the classifier."""
MAX_GROUPS = 64
MAX_CHANNELS = 4095
MAX_STEPS = 1023
MAX_SIDE = 255


@dataclass(frozen=True)
class Run:
    """Consecutive step words ``[first, last)``."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first


@dataclass(frozen=True)
class Group:
    """Input channels ``[first, last)``, base for a group of output channels, as runs of step words.

    A conditional path has at most two runs; the second begins behind the words that are all base.
    """

    first: int
    last: int
    base: Run
    conditional: tuple[Run, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation:
    """One layer of a program, before it has addresses.

    Fields are those of network.Convolution; a pooling is a convolution with weights 0 and 1.
    ``shape`` is what the array computes, ``stored`` the map that is written: 1x1 behind a fused
    pooling.
    """

    names: tuple[str, ...]  # layers of the network that it computes
    source: str
    input: Shape
    shape: Shape
    stored: Shape
    weights: np.ndarray  # (O, I, k, k) int8
    multipliers: np.ndarray  # (O,) int16
    bias: np.ndarray  # (O,) int64
    shift: int = 1
    low: int = 0
    high: int = 0
    stride: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    group_channels: int  # output channels of one group
    groups: tuple[Group, ...]
    thresholds: np.ndarray | None = None  # (O,) int32; None: not gated
    residual: Residual | None = None
    residual_shape: Shape | None = None
    relu_before_add: bool = False
    pool: Pool | None = None
    raw: bool = False

    @property
    def name(self) -> str:
        """The layer that refusals name: the first."""
        return self.names[0]

    @property
    def output(self) -> str:
        """Name of the tensor that it writes: the last layer's."""
        return self.names[-1]

    @property
    def pointwise(self) -> bool:
        """Whether a step multiplies nine channel words of one pixel."""
        return self.weights.shape[2] == 1

    def step_channels(self, word: int) -> int:
        """Input channels of one step word."""
        return TAPS * word if self.pointwise else word


def lower(network: Network, config: Config) -> list[Operation]:
    """The operations of a network, in order.

    Raises PenstockError, naming the layer, for what the hardware does not compute and for values
    outside the configuration's number ranges.
    """
    return _Lowering(network, config).run()


@dataclass
class _Lowering:
    network: Network
    config: Config
    shapes: dict[str, Shape] = field(init=False)
    bounds: dict[str, tuple[int, int]] = field(init=False)  # smallest and largest value of a tensor

    def __post_init__(self):
        self.shapes = self.network.shapes()
        self.bounds = {INPUT: self._activation_range(self.network.input.signed)}

    def run(self) -> list[Operation]:
        _check_side("network input", self.network.input, self.config)
        fused = self._fused_pools()
        lowered_by_fusion = {pool.name for pool in fused.values()}
        operations = []
        for layer in self.network.layers:
            if isinstance(layer, Convolution):
                operations.append(self._convolution(layer, fused.get(layer.name)))
            elif isinstance(layer, Classifier):
                operations.append(self._classifier(layer))
            elif layer.name not in lowered_by_fusion:
                operations.append(self._pool(layer))
        return operations

    def _fused_pools(self) -> dict[str, Pool]:
        """Global average poolings by the convolution that they are fused with."""
        consumers: dict[str, list[Layer]] = {}
        for layer in self.network.layers:
            consumers.setdefault(layer.source, []).append(layer)
            if isinstance(layer, Convolution) and layer.residual is not None:
                consumers.setdefault(layer.residual.source, []).append(layer)
        convolutions = {
            layer.name for layer in self.network.layers if isinstance(layer, Convolution)
        }
        return {
            source: users[0]
            for source, users in consumers.items()
            if source in convolutions and len(users) == 1 and self._is_global(users[0])
        }

    def _is_global(self, layer: Layer) -> bool:
        if not isinstance(layer, Pool) or layer.kind != "average" or any(layer.padding):
            return False
        source = self.shapes[layer.source]
        return layer.window in (None, (source.height, source.width))

    def _convolution(self, layer: Convolution, pool: Pool | None) -> Operation:
        kernel = layer.weights.shape[2]
        if kernel not in (1, KERNEL):
            raise PenstockError(
                f"layer {layer.name}: kernel must be 1x1 or 3x3, not {kernel}x{kernel}"
            )
        self._check_activations(layer)
        shape = self.shapes[layer.name]
        gated = layer.thresholds is not None and layer.groups > 1
        source = self.shapes[layer.source]
        operation = Operation(
            names=(layer.name,) if pool is None else (layer.name, pool.name),
            source=layer.source,
            input=source,
            shape=shape,
            stored=shape if pool is None else self.shapes[pool.name],
            weights=layer.weights,
            multipliers=layer.multipliers,
            bias=layer.bias,
            shift=layer.shift,
            low=layer.low,
            high=layer.high,
            stride=layer.stride,
            padding=layer.padding,
            group_channels=shape.channels // layer.groups,
            groups=_groups(source.channels, layer.groups, self._unit(kernel)),
            thresholds=self._reachable(layer.thresholds) if gated else None,
            residual=layer.residual,
            residual_shape=layer.residual and self.shapes[layer.residual.source],
            relu_before_add=layer.relu_before_add,
            pool=pool,
        )
        self._check(operation)
        self._check_bits(layer.name, "bias", layer.bias.min(), layer.bias.max(), BIAS_BITS)
        self._check_requantization(operation)
        self.bounds[layer.name] = (layer.low, layer.high)
        if pool is not None:
            self._check_activations(pool)
            self._check_fused_pool(operation)
            self.bounds[pool.name] = (pool.low, pool.high)
        return operation

    def _pool(self, layer: Pool) -> Operation:
        if layer.kind != "average":
            raise PenstockError(f"layer {layer.name}: pooling must be average, not {layer.kind}")
        source = self.shapes[layer.source]
        height, width = layer.window or (source.height, source.width)
        if max(height, width) > KERNEL:
            raise PenstockError(
                f"layer {layer.name}: average pooling must have a window of at most 3x3, or be "
                f"global behind a convolution that nothing else reads, not {height}x{width}"
            )
        self._check_activations(layer)
        channels, word = source.channels, self.config.word
        words = -(-channels // word)
        group_words = -(-words // min(self.config.groups, MAX_GROUPS))
        weights = np.zeros((channels, channels, KERNEL, KERNEL), np.int8)
        weights[np.arange(channels), np.arange(channels), :height, :width] = 1
        group_channels = group_words * word
        operation = Operation(
            names=(layer.name,),
            source=layer.source,
            input=source,
            shape=self.shapes[layer.name],
            stored=self.shapes[layer.name],
            weights=weights,
            multipliers=np.full(channels, layer.multiplier, np.int16),
            bias=np.zeros(channels, np.int64),
            shift=layer.shift,
            low=layer.low,
            high=layer.high,
            stride=layer.stride,
            padding=layer.padding,
            group_channels=group_channels,
            groups=tuple(
                _group(first, min(first + group_channels, channels), word)
                for first in range(0, channels, group_channels)
            ),
        )
        self._check(operation)
        self._check_requantization(operation)
        self.bounds[layer.name] = (layer.low, layer.high)
        return operation

    def _classifier(self, layer: Classifier) -> Operation:
        source = self.shapes[layer.source]
        classes = len(layer.weights)
        operation = Operation(
            names=(layer.name,),
            source=layer.source,
            input=source,
            shape=self.shapes[layer.name],
            stored=self.shapes[layer.name],
            weights=layer.weights[:, :, np.newaxis, np.newaxis],
            multipliers=np.ones(classes, np.int16),
            bias=layer.bias.astype(np.int64),
            group_channels=classes,
            groups=_groups(source.channels, 1, self._unit(1)),
            raw=True,
        )
        self._check(operation)
        low, high = self._sums(operation)
        self._check_bits(
            layer.name, "results", (low + layer.bias).min(), (high + layer.bias).max(), RAW_BITS
        )
        return operation

    def _unit(self, kernel: int) -> int:
        """Input channels of one step word."""
        return self.config.word if kernel == KERNEL else TAPS * self.config.word

    def _reachable(self, thresholds: np.ndarray) -> np.ndarray:
        """Thresholds moved into the accumulator's range; no decision changes.

        The lowest value stays "always on", since no sum is as small.
        """
        limit = 1 << self.config.accumulator_bits - 1
        return np.clip(thresholds.astype(np.int64), -limit, limit - 1).astype(np.int32)

    def _activation_range(self, signed: bool) -> tuple[int, int]:
        bits = self.config.activation_bits
        return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)

    def _check_activations(self, layer: Convolution | Pool):
        low, high = self._activation_range(layer.low < 0)
        if not low <= layer.low <= layer.high <= high:
            raise PenstockError(
                f"layer {layer.name}: low and high must be in {low}..{high} "
                f"({self.config.activation_bits} bits), not {layer.low}..{layer.high}"
            )

    def _check(self, operation: Operation):
        """Sizes and sums that every operation must keep to."""
        config, name = self.config, operation.name
        limit = 1 << config.weight_bits - 1
        low, high = int(operation.weights.min()), int(operation.weights.max())
        if low < -limit or high >= limit:
            raise PenstockError(
                f"layer {name}: weights must be in {-limit}..{limit - 1} "
                f"({config.weight_bits} bits), not {low}..{high}"
            )
        _check_side(f"layer {name}", operation.shape, config)
        if operation.shape.channels > MAX_CHANNELS:
            raise PenstockError(
                f"layer {name}: must have at most {MAX_CHANNELS} output channels, "
                f"not {operation.shape.channels}"
            )
        groups = min(config.groups, MAX_GROUPS)
        if len(operation.groups) > groups:
            raise PenstockError(
                f"layer {name}: needs {len(operation.groups)} groups, there are {groups}"
            )
        steps = max(
            max(len(group.base), sum(len(run) for run in group.conditional))
            for group in operation.groups
        )
        if steps > MAX_STEPS:
            raise PenstockError(
                f"layer {name}: needs {steps} steps for one output, there are {MAX_STEPS}"
            )
        lowest, highest = self._sums(operation)
        # one more than the lowest sum: the lowest value means "always on" as a threshold
        self._check_bits(
            name, "partial sums", lowest.min() - 1, highest.max(), config.accumulator_bits
        )

    def _sums(self, operation: Operation) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest value (O,) that any subset of a channel's products can add up to."""
        low, high = self._with_zero(operation.source)
        weights = operation.weights.reshape(len(operation.weights), -1).astype(np.int64)
        positive = np.maximum(weights, 0).sum(axis=1)
        negative = np.minimum(weights, 0).sum(axis=1)
        return positive * low + negative * high, positive * high + negative * low

    def _with_zero(self, name: str) -> tuple[int, int]:
        low, high = self.bounds[name]
        return min(low, 0), max(high, 0)

    def _check_requantization(self, operation: Operation):
        sums = np.stack(self._sums(operation)) * operation.multipliers.astype(np.int64)
        low = sums.min(axis=0) + operation.bias
        high = sums.max(axis=0) + operation.bias
        self._check_bits(operation.name, "psum*M + B", low.min(), high.max(), self.config.sum_bits)
        if operation.relu_before_add:
            low, high = np.maximum(low, 0), np.maximum(high, 0)
        if operation.residual is not None:
            ends = [
                value * operation.residual.multiplier
                for value in self._with_zero(operation.residual.source)
            ]
            low, high = low + min(ends), high + max(ends)
        rounding = 1 << operation.shift - 1
        self._check_bits(
            operation.name,
            "psum*M + B + r*Mr + rounding",
            low.min() + rounding,
            high.max() + rounding,
            self.config.sum_bits,
        )

    def _check_fused_pool(self, operation: Operation):
        pool = operation.pool
        pixels = operation.shape.height * operation.shape.width
        low, high = (value * pixels for value in self._with_zero(operation.name))
        self._check_bits(pool.name, "sums", low, high, self.config.accumulator_bits)
        rounding = 1 << pool.shift - 1
        ends = [low * pool.multiplier, high * pool.multiplier]
        self._check_bits(
            pool.name,
            "sum*M + rounding",
            min(ends) + rounding,
            max(ends) + rounding,
            self.config.sum_bits,
        )

    @staticmethod
    def _check_bits(name: str, what: str, low: int, high: int, have: int):
        need = max((int(high)).bit_length(), (~int(low)).bit_length() if low < 0 else 0) + 1
        if need > have:
            raise PenstockError(f"layer {name}: {what} need {need} bits, there are {have}")


def _check_side(what: str, shape: Shape, config: Config):
    limit = min(config.map_side, MAX_SIDE)
    if max(shape.height, shape.width) > limit:
        raise PenstockError(
            f"{what}: map must be at most {limit}x{limit} pixels, not {shape.height}x{shape.width}"
        )


def _group(first: int, last: int, unit: int) -> Group:
    """A group without a conditional path."""
    return Group(first, last, Run(first // unit, -(-last // unit)))


def _groups(channels: int, count: int, unit: int) -> tuple[Group, ...]:
    """The groups of a convolution in step words of ``unit`` channels."""
    if count == 1:
        return (_group(0, channels, unit),)
    size = channels // count
    return tuple(
        _gated_group(first, first + size, channels, unit) for first in range(0, channels, size)
    )


def _gated_group(first: int, last: int, channels: int, unit: int) -> Group:
    words = -(-channels // unit)
    wholly_first = -(-first // unit)
    wholly_last = words if last == channels else last // unit
    if wholly_first >= wholly_last:  # no word is wholly base: the conditional path takes them all
        runs = (Run(0, words),)
    else:
        runs = tuple(run for run in (Run(0, wholly_first), Run(wholly_last, words)) if len(run))
    return Group(first, last, _group(first, last, unit).base, runs)
