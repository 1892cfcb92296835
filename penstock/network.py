"""A quantized network: what gold/ computes, the compiler lowers and a network file holds.

A network file is one safetensors file. Its metadata has one key, ``penstock``, whose JSON
describes the layers in order; the tensors are ``<layer>.weights`` (int8), ``<layer>.thresholds``
(int32), ``<layer>.multipliers`` (int16) and ``<layer>.bias`` (int64).
"""

import contextlib
import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from penstock.errors import PenstockError

FORMAT_VERSION = 1
INPUT = "input"
"""Name of the image, as a layer's source."""

SHIPPED_FOLDER = Path(__file__).with_name("networks")
SHIPPED = {path.stem: path for path in sorted(SHIPPED_FOLDER.glob("*.safetensors"))}
"""The networks that come with Penstock: name -> network file."""

MAX_SIZE = 1 << 16
"""Largest channels, height and width of an image; a configuration takes less."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Channels, height, width of one image's tensor, and whether its 8-bit values are signed."""

    channels: int
    height: int
    width: int
    signed: bool


@dataclass(frozen=True, kw_only=True)
class Residual:
    """What is added before requantization: ``source[o - offset, stride*y, stride*x] * multiplier``.

    offset = (output channels - source channels) / 2; channels outside the source add 0 (option A).
    """

    source: str
    stride: int = 1
    multiplier: int  # signed 16 bits


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution:
    """A plain or channel-gated convolution with requantization; equations: gold/convolution.py."""

    name: str
    source: str
    weights: np.ndarray  # (O, I, k, k) int8
    multipliers: np.ndarray  # (O,) int16
    bias: np.ndarray  # (O,) int64
    shift: int  # 1..31
    low: int  # bounds of the saturation, in -128..127 (signed) or 0..255
    high: int
    stride: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    groups: int = 1
    thresholds: np.ndarray | None = None  # (O,) int32; None: not gated
    residual: Residual | None = None
    relu_before_add: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Average or max pooling; ``window=None`` pools the whole map."""

    name: str
    source: str
    kind: str  # "average" or "max"
    window: tuple[int, int] | None = None
    stride: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    multiplier: int = 1  # average: signed 16 bits, with 1/n inside
    shift: int = 1
    low: int = 0
    high: int = 255


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier:
    """``weights @ source + bias`` of a 1x1 map, as signed 32 bits; the network's last layer."""

    name: str
    source: str
    weights: np.ndarray  # (O, I) int8
    bias: np.ndarray  # (O,) int32


Layer = Convolution | Pool | Classifier


def output_size(size: int, kernel: int, stride: int, before: int, after: int) -> int:
    """Pixels of one output side."""
    return (size + before + after - kernel) // stride + 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """Layers in the order of execution, each naming the tensor that it reads.

    Raises PenstockError, naming the layer, where shapes, dtypes or ranges break a rule.
    """

    name: str
    input: Shape
    input_scale: float  # real value of one unit of the input
    layers: tuple[Layer, ...]

    def __post_init__(self):
        self.shapes()

    def shapes(self) -> dict[str, Shape]:
        """Shape of the input and of every layer's output, by name."""
        _check_input(self.input)
        shapes = {INPUT: self.input}
        if not self.layers:
            raise PenstockError(f"network {self.name}: must have at least one layer, not 0")
        for layer in self.layers:
            if not isinstance(layer.name, str) or not layer.name or layer.name in shapes:
                raise PenstockError(f"layer {layer.name!r}: a name must be given once only")
            if layer.source not in shapes:
                raise PenstockError(
                    f"layer {layer.name}: source must be an earlier tensor, not {layer.source!r}"
                )
            shapes[layer.name] = _CHECKS[type(layer)](layer, shapes)
            if isinstance(layer, Classifier) and layer is not self.layers[-1]:
                raise PenstockError(f"layer {layer.name}: a classifier must be the last layer")
        return shapes

    def without_gates(self) -> "Network":
        """The same network with every convolution dense."""
        layers = tuple(
            dataclasses.replace(layer, groups=1, thresholds=None)
            if isinstance(layer, Convolution)
            else layer
            for layer in self.layers
        )
        return dataclasses.replace(self, layers=layers)

    def macs(self, layer: Layer) -> tuple[int, int]:
        """(all MACs, MACs of the base path) of one layer for one image; pooling counts none.

        Padding taps count; an ungated layer is all base.
        """
        shape = self.shapes()[layer.name]
        if isinstance(layer, Pool):
            return 0, 0
        if isinstance(layer, Classifier):
            return layer.weights.size, layer.weights.size
        total = layer.weights.size * shape.height * shape.width
        return total, total // layer.groups if layer.thresholds is not None else total


def _check_input(shape: Shape):
    for field in ("channels", "height", "width"):
        value = getattr(shape, field)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SIZE:
            raise PenstockError(
                f"network input: {field} must be an integer in 1..{MAX_SIZE}, not {value!r}"
            )
    if not isinstance(shape.signed, bool):
        raise PenstockError(f"network input: signed must be true or false, not {shape.signed!r}")


def _array(layer: Layer, field: str, dtype, shape: tuple[int, ...]):
    value = getattr(layer, field)
    if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
        raise PenstockError(f"layer {layer.name}: {field} must be integers, not NaN or infinite")
    if value.dtype != dtype:
        raise PenstockError(
            f"layer {layer.name}: {field} must be {np.dtype(dtype).name}, not {value.dtype.name}"
        )
    if value.shape != shape:
        raise PenstockError(
            f"layer {layer.name}: {field} must have shape {shape}, not {value.shape}"
        )


def _within(layer: Layer, field: str, low: int, high: int, value=None):
    value = getattr(layer, field) if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise PenstockError(
            f"layer {layer.name}: {field} must be an integer in {low}..{high}, not {value!r}"
        )


def _bounds(layer: Layer) -> bool:
    """Check the saturation bounds and tell whether the output is signed."""
    signed = layer.low < 0
    _within(layer, "low", -128, 255)
    _within(layer, "high", layer.low, 127 if signed else 255)
    return signed


def _spatial(
    layer: Layer, source: Shape, kernel: tuple[int, int], signed: bool, channels: int
) -> Shape:
    _within(layer, "stride", 1, 2)
    if len(layer.padding) != 4 or not all(
        isinstance(side, int) and 0 <= side < kernel[index % 2]
        for index, side in enumerate(layer.padding)
    ):
        raise PenstockError(
            f"layer {layer.name}: padding must be four sizes below the kernel, "
            f"not {layer.padding!r}"
        )
    top, left, bottom, right = layer.padding
    height = output_size(source.height, kernel[0], layer.stride, top, bottom)
    width = output_size(source.width, kernel[1], layer.stride, left, right)
    if height < 1 or width < 1:
        raise PenstockError(
            f"layer {layer.name}: the map must be at least as large as the kernel {kernel}, "
            f"not {source.height}x{source.width} with padding {layer.padding}"
        )
    return Shape(channels=channels, height=height, width=width, signed=signed)


def _check_convolution(layer: Convolution, shapes: dict[str, Shape]) -> Shape:
    source = shapes[layer.source]
    if layer.weights.ndim != 4 or layer.weights.shape[2] != layer.weights.shape[3]:
        raise PenstockError(
            f"layer {layer.name}: weights must be (O, I, k, k), not {layer.weights.shape}"
        )
    out_channels, _, kernel, _ = layer.weights.shape
    _array(layer, "weights", np.int8, (out_channels, source.channels, kernel, kernel))
    _array(layer, "multipliers", np.int16, (out_channels,))
    _array(layer, "bias", np.int64, (out_channels,))
    _within(layer, "shift", 1, 31)
    _within(layer, "groups", 1, min(out_channels, source.channels))
    if out_channels % layer.groups or source.channels % layer.groups:
        raise PenstockError(
            f"layer {layer.name}: groups must divide the {source.channels} input and "
            f"{out_channels} output channels, not {layer.groups}"
        )
    if layer.thresholds is not None:
        _array(layer, "thresholds", np.int32, (out_channels,))
    elif layer.groups != 1:
        raise PenstockError(
            f"layer {layer.name}: groups other than 1 need thresholds, {layer.groups} came without"
        )
    if not isinstance(layer.relu_before_add, bool):
        raise PenstockError(
            f"layer {layer.name}: relu_before_add must be true or false, "
            f"not {layer.relu_before_add!r}"
        )
    shape = _spatial(layer, source, (kernel, kernel), _bounds(layer), out_channels)
    if layer.residual is not None:
        _check_residual(layer, shape, shapes)
    elif layer.relu_before_add:
        raise PenstockError(f"layer {layer.name}: relu_before_add needs a residual")
    return shape


def _check_residual(layer: Convolution, shape: Shape, shapes: dict[str, Shape]):
    residual = layer.residual
    if residual.source not in shapes:
        raise PenstockError(
            f"layer {layer.name}: residual must be an earlier tensor, not {residual.source!r}"
        )
    source = shapes[residual.source]
    _within(layer, "residual stride", 1, 2, residual.stride)
    _within(layer, "residual multiplier", -(2**15), 2**15 - 1, residual.multiplier)
    covered = (-(-source.height // residual.stride), -(-source.width // residual.stride))
    if covered != (shape.height, shape.width):
        raise PenstockError(
            f"layer {layer.name}: residual must be {shape.height}x{shape.width} pixels, "
            f"not {covered[0]}x{covered[1]}"
        )
    if source.channels > shape.channels or (shape.channels - source.channels) % 2:
        raise PenstockError(
            f"layer {layer.name}: residual must have {shape.channels} channels or an even number "
            f"fewer, not {source.channels}"
        )


def _check_pool(layer: Pool, shapes: dict[str, Shape]) -> Shape:
    source = shapes[layer.source]
    if layer.kind not in ("average", "max"):
        raise PenstockError(
            f"layer {layer.name}: kind must be one of average, max, not {layer.kind!r}"
        )
    window = layer.window or (source.height, source.width)
    if len(window) != 2 or not all(isinstance(side, int) and side >= 1 for side in window):
        raise PenstockError(
            f"layer {layer.name}: window must be two sizes of 1 or more, not {layer.window!r}"
        )
    if layer.kind == "max":
        return _spatial(layer, source, window, source.signed, source.channels)
    _within(layer, "multiplier", -(2**15), 2**15 - 1)
    _within(layer, "shift", 1, 31)
    return _spatial(layer, source, window, _bounds(layer), source.channels)


def _check_classifier(layer: Classifier, shapes: dict[str, Shape]) -> Shape:
    source = shapes[layer.source]
    if (source.height, source.width) != (1, 1):
        raise PenstockError(
            f"layer {layer.name}: source must be a 1x1 map, not {source.height}x{source.width}"
        )
    classes = len(layer.weights)
    _array(layer, "weights", np.int8, (classes, source.channels))
    _array(layer, "bias", np.int32, (classes,))
    return Shape(channels=classes, height=1, width=1, signed=True)


_CHECKS = {
    Convolution: _check_convolution,
    Pool: _check_pool,
    Classifier: _check_classifier,
}
_ARRAYS = ("weights", "thresholds", "multipliers", "bias")
_KINDS = {"convolution": Convolution, "pool": Pool, "classifier": Classifier}


def save_network(network: Network, path: str | os.PathLike):
    """Write a network file; the file appears whole or not at all."""
    tensors, layers = {}, []
    for layer in network.layers:
        entry = {"kind": next(kind for kind, type_ in _KINDS.items() if type_ is type(layer))}
        for field, value in vars(layer).items():
            if isinstance(value, np.ndarray):
                tensors[f"{layer.name}.{field}"] = np.ascontiguousarray(value)
            elif isinstance(value, Residual):
                entry[field] = vars(value)
            elif value is not None:
                entry["pool" if field == "kind" else field] = value
        layers.append(entry)
    description = {
        "version": FORMAT_VERSION,
        "name": network.name,
        "input": vars(network.input),
        "input_scale": network.input_scale,
        "layers": layers,
    }
    write_whole(path, save(tensors, metadata={"penstock": json.dumps(description)}))


def load_network(path: str | os.PathLike) -> Network:
    """Read a network file. Raises PenstockError where it is missing, foreign or inconsistent."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - the file is no mapping
    except FileNotFoundError:
        raise PenstockError(f"network {path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise PenstockError(f"network {path}: must be a safetensors file ({error})") from None
    if "penstock" not in metadata:
        raise PenstockError(
            f"network {path}: must be a Penstock network file, has no such metadata"
        )
    try:
        description = json.loads(metadata["penstock"])
        if description["version"] != FORMAT_VERSION:
            raise PenstockError(
                f"network {path}: version must be {FORMAT_VERSION}, not {description['version']!r}"
            )
        return Network(
            name=description["name"],
            input=Shape(**description["input"]),
            input_scale=description["input_scale"],
            layers=tuple(_load_layer(entry, tensors) for entry in description["layers"]),
        )
    except PenstockError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise PenstockError(f"network {path}: must be a whole network file ({error!r})") from None


def _load_layer(entry: dict, tensors: dict[str, np.ndarray]) -> Layer:
    fields = dict(entry)
    kind = _KINDS[fields.pop("kind")]
    if "pool" in fields:
        fields["kind"] = fields.pop("pool")
    for field in ("padding", "window"):
        if field in fields:
            fields[field] = tuple(fields[field])
    if "residual" in fields:
        fields["residual"] = Residual(**fields["residual"])
    for field in _ARRAYS:
        if f"{fields['name']}.{field}" in tensors:
            fields[field] = tensors[f"{fields['name']}.{field}"]
    return kind(**fields)


def write_whole(path: str | os.PathLike, content: bytes):
    """Write a file that appears whole or not at all. Raises PenstockError where that fails."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise PenstockError(f"{path}: must be a writable file ({error.strerror})") from None
