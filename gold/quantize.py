"""Quantization: a float network becomes integers, batch norms folded in; NumPy only."""

from collections.abc import Mapping

import numpy as np

from penstock.errors import PenstockError
from penstock.gold.float_network import (
    FloatClassifier,
    FloatConvolution,
    FloatGate,
    FloatNetwork,
    FloatPool,
    Format,
    largest_values,
    positive_gains,
)
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
from penstock.program import PARAMETER

INPUT_SCALE = 1 / 255
"""Real value of one level of an image, unless told otherwise: the float network sees 0..1."""
LARGEST_WEIGHT = 127  # -128 stays unused: symmetric
LARGEST_MULTIPLIER = 2**15 - 1
LARGEST_SHIFT = 31


def quantize(network: FloatNetwork, largest: Mapping[str, float]) -> Network:
    """The integer network of a float network.

    ``largest``: by name, the largest absolute value that calibration saw of a tensor; it sets the
    scale of each that has no format yet. Weights get one scale per output channel, the classifier's
    one altogether; where their units are given, they keep them. Raises PenstockError naming the
    layer where its constants do not fit.
    """
    formats = _formats(network, largest)
    shapes = network.shapes()
    layers: list[Layer] = []
    for layer in network.layers:
        if isinstance(layer, FloatConvolution):
            layers.append(_convolution(layer, formats))
        elif isinstance(layer, FloatPool):
            layers.append(_pool(layer, formats, shapes[layer.source]))
        else:
            layers.append(_classifier(layer, formats[layer.source].scale))
    return Network(
        name=network.name,
        input=network.input,
        input_scale=network.input_scale,
        layers=tuple(layers),
    )


def calibrate(network: FloatNetwork, images: np.ndarray | None) -> Network:
    """The integer network of an imported one, which images (N, C, H, W) uint8 calibrate.

    A network that has its formats keeps them and needs no images. Raises PenstockError as quantize.
    """
    network = positive_gains(network)
    return quantize(network, {} if network.formats else largest_values(network, images))


def channel_scales(weights: np.ndarray) -> np.ndarray:
    """(O,) float64: real value of one unit of int8 weights (O, ...); 1 for channels of zeros.

    >>> channel_scales(np.array([[1.27, -0.5], [0, 0]])).tolist()
    [0.01, 1.0]
    """
    largest = np.abs(weights.reshape(len(weights), -1)).max(axis=1)
    return np.where(largest > 0, largest / LARGEST_WEIGHT, 1.0)


def quantize_weights(weights: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """int8 of weights (O, ...) over scales (O,), float64 both, ties to even.

    >>> quantize_weights(np.array([[1.25, -0.75], [1.0, -1.27]]), np.array([0.5, 0.01])).tolist()
    [[2, -2], [100, -127]]
    """
    units = np.rint(weights / scales.reshape(-1, *[1] * (weights.ndim - 1)))
    largest = np.abs(units).max()
    if largest > LARGEST_WEIGHT:
        raise PenstockError(f"weights: must stay within +-{LARGEST_WEIGHT} units, not {largest:g}")
    return units.astype(np.int8)


def fold_gate(
    mean: np.ndarray,
    variance: np.ndarray,
    epsilon: float,
    delta: np.ndarray,
    scale: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Integer thresholds: ``T = floor((mean + delta * sqrt(variance + epsilon)) / scale)``.

    All (O,) float64; scale is the real value of one unit of the partial sum; weights (O, I, k, k)
    int8 bound what it can reach: thresholds beyond are drawn to the nearest that decides the same,
    so that they fit the accumulator. Returns (O,) int32. Since partial sums are integers,
    ``psum > T`` exactly where ``norm(psum * scale) > delta``.
    """
    exact = np.floor((mean + delta * np.sqrt(variance + epsilon)) / scale)
    reach = np.abs(weights.astype(np.int64)).sum(axis=(1, 2, 3)) * 255
    return np.clip(exact, -reach - 1, reach).astype(np.int32)


def common_shift(layer: str, factors: np.ndarray, offsets: np.ndarray) -> int:
    """The finest S in 1..31: every factor * 2^S fits signed 16 bits, every offset * 2^S a bias.

    factors and offsets float64, in output units. Raises PenstockError with the layer's name where
    there is none.

    >>> common_shift("a", np.array([0.75, -0.5]), np.array([1.0, 0.0]))
    15
    """
    bias_bits = next(field.bits for field in PARAMETER.fields if field.name == "bias")
    factor, offset = np.abs(factors).max(), np.abs(offsets).max()
    for shift in range(LARGEST_SHIFT, 0, -1):
        fits = np.ceil(factor * 2**shift) <= LARGEST_MULTIPLIER
        if fits and np.rint(offset * 2**shift) < 2 ** (bias_bits - 1):
            return shift
    raise PenstockError(
        f"layer {layer}: multipliers must fit 16 bits and biases {bias_bits}, the largest are "
        f"{factor:g} and {offset:g} output units"
    )


def whole_multipliers(
    factors: np.ndarray, scales: np.ndarray, shift: int
) -> tuple[np.ndarray, np.ndarray]:
    """(multipliers int16, weight scales): factors * 2^S made whole by coarser weights, not rounded.

    A layer's S may leave its multipliers few bits, because the residual's is larger. So each is
    rounded away from zero, and its channel's weight scale grows by as much: the product of both is
    what it was. factors and scales (O,) float64.

    >>> whole_multipliers(np.array([0.75, -0.5]), np.array([0.25, 0.25]), 1)
    (array([ 2, -1], dtype=int16), array([0.33333333, 0.25      ]))
    """
    exact = factors * 2**shift
    whole = np.copysign(np.ceil(np.abs(exact)), exact)
    growth = np.divide(whole, exact, out=np.ones_like(exact), where=exact != 0)
    return whole.astype(np.int16), scales * growth


def _formats(network: FloatNetwork, largest: Mapping[str, float]) -> dict[str, Format]:
    """The integers of every tensor but the classifier's, by name."""
    signed = {name: shape.signed for name, shape in network.shapes().items()}
    formats = {INPUT: Format(scale=network.input_scale, low=0, high=255)} | network.formats
    for layer in network.layers:
        if isinstance(layer, FloatPool) and layer.kind == "max":
            formats[layer.name] = formats[layer.source]
        elif not isinstance(layer, FloatClassifier) and layer.name not in formats:
            formats[layer.name] = _calibrated(layer.name, largest[layer.name], signed[layer.name])
    return formats


def _calibrated(name: str, largest: float, signed: bool) -> Format:
    if largest == 0:
        raise PenstockError(f"layer {name}: calibration must see a value other than 0")
    low, high = (-128, 127) if signed else (0, 255)
    return Format(scale=largest / high, low=low, high=high)


def _convolution(layer: FloatConvolution, formats: Mapping[str, Format]) -> Convolution:
    source, out = formats[layer.source].scale, formats[layer.name]
    offsets = layer.offset / out.scale
    weight_scales = channel_scales(layer.weights) if layer.units is None else layer.units
    factors = layer.gain * weight_scales * source / out.scale
    added = formats[layer.residual].scale / out.scale if layer.residual is not None else 0.0
    shift = common_shift(layer.name, np.append(factors, added), offsets)
    if layer.units is None:
        multipliers, weight_scales = whole_multipliers(factors, weight_scales, shift)
        weights = quantize_weights(layer.weights, weight_scales)
    else:
        multipliers = np.rint(factors * 2**shift).astype(np.int16)
        weights = _kept(layer.weights, layer.units)
    gate, residual = layer.gate, None
    if layer.residual is not None:
        residual = Residual(
            source=layer.residual,
            stride=layer.residual_stride,
            multiplier=round(added * 2**shift),
        )
    return Convolution(
        name=layer.name,
        source=layer.source,
        weights=weights,
        multipliers=multipliers,
        bias=np.rint(offsets * 2**shift).astype(np.int64),
        shift=shift,
        low=out.low,
        high=out.high,
        stride=layer.stride,
        padding=layer.padding,
        groups=1 if gate is None else gate.groups,
        thresholds=None if gate is None else _thresholds(gate, weight_scales * source, weights),
        residual=residual,
        relu_before_add=layer.relu_before_add,
    )


def _kept(weights: np.ndarray, units: np.ndarray) -> np.ndarray:
    """The int8 that weights (O, ...) are multiples of units (O,) of: as the source had them."""
    return np.rint(weights / units.reshape(-1, *[1] * (weights.ndim - 1))).astype(np.int8)


def _thresholds(gate: FloatGate, unit: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return fold_gate(gate.mean, gate.variance, gate.epsilon, gate.delta, unit, weights)


def _pool(layer: FloatPool, formats: Mapping[str, Format], source: Shape) -> Pool:
    where = {
        "name": layer.name,
        "source": layer.source,
        "kind": layer.kind,
        "window": layer.window,
        "stride": layer.stride,
        "padding": layer.padding,
    }
    if layer.kind == "max":
        return Pool(**where)
    height, width = layer.window or (source.height, source.width)
    out = formats[layer.name]
    factor = formats[layer.source].scale / (out.scale * (height * width))
    shift = common_shift(layer.name, np.array([factor]), np.zeros(1))
    multiplier = round(factor * 2**shift)
    return Pool(**where, multiplier=multiplier, shift=shift, low=out.low, high=out.high)


def _classifier(layer: FloatClassifier, source_scale: float) -> Classifier:
    if layer.units is None:
        scale = np.abs(layer.weights).max() / LARGEST_WEIGHT or 1.0
        weights = quantize_weights(layer.weights, np.full(len(layer.weights), scale))
    else:
        scale = layer.units[0]
        weights = _kept(layer.weights, layer.units)
    bias = np.rint(layer.bias / (scale * source_scale))
    if np.abs(bias).max() >= 2**31:
        raise PenstockError(f"layer {layer.name}: biases must fit 32 bits, not {bias.max():g}")
    return Classifier(
        name=layer.name,
        source=layer.source,
        weights=weights,
        bias=bias.astype(np.int32),
    )
