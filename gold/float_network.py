"""A float network before quantization: what every source of a network is brought to; NumPy only."""

from dataclasses import dataclass, field, replace

import numpy as np

from penstock.gold.convolution import base_mask
from penstock.gold.windows import windows
from penstock.network import INPUT, Shape, output_size

_CHUNK = 2**22  # unfolded inputs of a convolution that are held at once


@dataclass(frozen=True, kw_only=True)
class Format:
    """The 8-bit integers that stand for a tensor: ``real = integer * scale``, low..high."""

    scale: float
    low: int
    high: int


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatGate:
    """The gate of a convolution: ``(psum - mean) / sqrt(variance + epsilon) > delta``, per channel.

    mean, variance, delta (O,) float64; groups is p: output group g has input group g as its base.
    """

    groups: int
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float
    delta: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatConvolution:
    """``out = relu(gain * conv(source) + offset + residual)``, gated where it has a gate.

    ``relu_before_add`` clips at 0 before the residual is added, ``relu`` the whole. The residual
    is every ``residual_stride``-th pixel of its tensor, its channels centred among zeros.
    """

    name: str
    source: str
    weights: np.ndarray  # (O, I, k, k) float64
    units: np.ndarray | None = None  # (O,): the weights are integers times these already
    gain: np.ndarray  # (O,) float64
    offset: np.ndarray  # (O,) float64
    stride: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    gate: FloatGate | None = None
    residual: str | None = None
    residual_stride: int = 1
    relu: bool = False
    relu_before_add: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatPool:
    """Average or max pooling; ``window=None`` pools the whole map; averages count padding."""

    name: str
    source: str
    kind: str  # "average" or "max"
    window: tuple[int, int] | None = None
    stride: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatClassifier:
    """``weights @ source + bias`` of a 1x1 map; the last layer."""

    name: str
    source: str
    weights: np.ndarray  # (O, I) float64
    units: np.ndarray | None = None  # (O,), all equal: the weights are integers times these
    bias: np.ndarray  # (O,) float64


FloatLayer = FloatConvolution | FloatPool | FloatClassifier


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatNetwork:
    """Layers in the order of execution, each naming the tensor that it reads.

    ``formats`` has the integers of every tensor, by name, where the source is a quantized network;
    it is empty where calibration has to find them.
    """

    name: str
    input: Shape
    input_scale: float  # real value of one level of an image
    layers: tuple[FloatLayer, ...]
    formats: dict[str, Format] = field(default_factory=dict)

    def shapes(self) -> dict[str, Shape]:
        """Shape of the input and of every layer's output, by name; signed where it can be < 0."""
        shapes = {INPUT: self.input}
        for layer in self.layers:
            shapes[layer.name] = _shape(layer, shapes[layer.source])
        return shapes


def _shape(layer: FloatLayer, source: Shape) -> Shape:
    if isinstance(layer, FloatClassifier):
        return Shape(channels=len(layer.weights), height=1, width=1, signed=True)
    if isinstance(layer, FloatPool):
        window = layer.window or (source.height, source.width)
        channels, signed = source.channels, source.signed
    else:
        window = layer.weights.shape[2:]
        channels, signed = len(layer.weights), not layer.relu
    top, left, bottom, right = layer.padding
    return Shape(
        channels=channels,
        height=output_size(source.height, window[0], layer.stride, top, bottom),
        width=output_size(source.width, window[1], layer.stride, left, right),
        signed=signed,
    )


def positive_gains(network: FloatNetwork) -> FloatNetwork:
    """The same network with gains of 0 or more: the sign of a negative one goes to its weights.

    As where an exporter has folded batch norms into the weights, so that both give the same ones.
    Gated convolutions stay as they are, their thresholds judge sums of the weights as they are.
    """

    def positive(layer: FloatLayer) -> FloatLayer:
        if not isinstance(layer, FloatConvolution) or layer.gate or layer.units is not None:
            return layer
        sign = np.where(layer.gain < 0, -1.0, 1.0)
        weights = layer.weights * sign[:, None, None, None]
        return replace(layer, weights=weights, gain=layer.gain * sign)

    return replace(network, layers=tuple(positive(layer) for layer in network.layers))


def compute(network: FloatNetwork, images: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor by name, (N, C, H, W) float64, of images (N, C, H, W) of integers.

    What a classifier gives is (N, classes, 1, 1).
    """
    tensors = {INPUT: images * network.input_scale}
    for layer in network.layers:
        tensors[layer.name] = _COMPUTE[type(layer)](layer, tensors)
    return tensors


def largest_values(network: FloatNetwork, images: np.ndarray) -> dict[str, float]:
    """The largest absolute value of every tensor, by name, over images (N, C, H, W) of integers."""
    largest: dict[str, float] = {}
    chunk = max(1, _CHUNK // _unfolded(network))
    for first in range(0, len(images), chunk):
        for name, tensor in compute(network, images[first : first + chunk]).items():
            largest[name] = max(largest.get(name, 0.0), float(np.abs(tensor).max()))
    return largest


def _unfolded(network: FloatNetwork) -> int:
    """Values of the largest unfolded input of a convolution, one image."""
    shapes = network.shapes()
    return max(
        (
            layer.weights[0].size * shapes[layer.name].height * shapes[layer.name].width
            for layer in network.layers
            if isinstance(layer, FloatConvolution)
        ),
        default=1,
    )


def _products(layer: FloatConvolution, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    view = windows(x, weights.shape[2:], layer.stride, layer.padding)
    height, width = view.shape[2:4]
    unfolded = view.transpose(0, 1, 4, 5, 2, 3).reshape(len(x), -1, height * width)
    return (weights.reshape(len(weights), -1) @ unfolded).reshape(len(x), -1, height, width)


def _convolution(layer: FloatConvolution, tensors: dict[str, np.ndarray]) -> np.ndarray:
    x = tensors[layer.source]
    total = _products(layer, x, layer.weights)
    if layer.gate is not None:
        gate = layer.gate
        mask = base_mask(*layer.weights.shape[:2], gate.groups)[:, :, None, None]
        psum = _products(layer, x, layer.weights * mask)
        deviation = np.sqrt(gate.variance + gate.epsilon)
        threshold = gate.mean + gate.delta * deviation
        total = np.where(psum > threshold[:, None, None], total, psum)
    out = total * layer.gain[:, None, None] + layer.offset[:, None, None]
    if layer.relu_before_add:
        out = np.maximum(out, 0)
    if layer.residual is not None:
        stride = layer.residual_stride
        residual = tensors[layer.residual][:, :, ::stride, ::stride]
        first = (out.shape[1] - residual.shape[1]) // 2
        out[:, first : first + residual.shape[1]] += residual
    return np.maximum(out, 0) if layer.relu else out


def _pool(layer: FloatPool, tensors: dict[str, np.ndarray]) -> np.ndarray:
    x = tensors[layer.source]
    window = layer.window or x.shape[2:]
    if layer.kind == "max":
        return windows(x, window, layer.stride, layer.padding, -np.inf).max(axis=(4, 5))
    return windows(x, window, layer.stride, layer.padding).mean(axis=(4, 5))


def _classifier(layer: FloatClassifier, tensors: dict[str, np.ndarray]) -> np.ndarray:
    logits = tensors[layer.source][:, :, 0, 0] @ layer.weights.T + layer.bias
    return logits[:, :, None, None]


_COMPUTE = {FloatConvolution: _convolution, FloatPool: _pool, FloatClassifier: _classifier}
