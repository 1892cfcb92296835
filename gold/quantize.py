"""Post-training quantization: a float gated network becomes integers, batch norms folded in."""

import numpy as np
import torch

from penstock.errors import PenstockError
from penstock.gold.models import CLASSIFIER, POOL, GatedNetwork, LayerSpec
from penstock.gold.torch_layers import ChannelGatedConv2d
from penstock.network import INPUT, Classifier, Convolution, Layer, Network, Pool, Residual, Shape
from penstock.program import PARAMETER

INPUT_SCALE = 1 / 255
"""Real value of one level of an image: the float network sees 0..1."""
LARGEST_WEIGHT = 127  # -128 stays unused: symmetric
LARGEST_MULTIPLIER = 2**15 - 1
LARGEST_SHIFT = 31


def quantize(model: GatedNetwork, images: np.ndarray) -> Network:
    """The integer network of a trained model.

    images (N, C, H, W) uint8 calibrate it: the largest value of each tensor sets its scale. Weights
    get one scale per output channel, the classifier's one altogether. Raises PenstockError naming
    the tensor where a weight is not finite, and the layer where its constants do not fit.
    """
    check_finite(model)
    scales = {INPUT: INPUT_SCALE, **_tensor_scales(model, images)}
    spec = model.spec
    layers: list[Layer] = [_convolution(model, layer, scales) for layer in spec.layers]
    last = spec.layers[-1].name
    side = -(-spec.input_size // _total_stride(model))  # of the pooled map, pixels
    layers.append(_average(last, scales[last] / (scales[POOL] * side**2)))
    layers.append(_classifier(model, scales[POOL]))
    return Network(
        name=spec.name,
        input=Shape(
            channels=spec.input_channels,
            height=spec.input_size,
            width=spec.input_size,
            signed=False,
        ),
        input_scale=INPUT_SCALE,
        layers=tuple(layers),
    )


def check_finite(model: torch.nn.Module):
    """Raise PenstockError naming the first tensor of a model that holds NaN or infinite values."""
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise PenstockError(f"weights {name}: must be finite numbers, not NaN or infinite")


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


def _double(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


@torch.no_grad()
def _tensor_scales(model: GatedNetwork, images: np.ndarray) -> dict[str, float]:
    """Real value of one unit of every 8-bit tensor, from the largest that calibration sees."""
    model.eval()
    tensors = model.tensors(torch.from_numpy(images).float() * INPUT_SCALE)
    signed = {layer.name for layer in model.spec.layers if not layer.relu}
    scales = {}
    for name in (*(layer.name for layer in model.spec.layers), POOL):
        largest = float(tensors[name].abs().max())
        if largest == 0:
            raise PenstockError(f"layer {name}: calibration must see a value other than 0")
        scales[name] = largest / (127 if name in signed else 255)
    return scales


def _convolution(model: GatedNetwork, spec: LayerSpec, scales: dict[str, float]) -> Convolution:
    module, norm = model.convolutions[spec.name], model.norms[spec.name]
    source, out = scales[spec.source], scales[spec.name]
    gain = _double(norm.weight) / np.sqrt(_double(norm.running_var) + norm.eps)
    offsets = (_double(norm.bias) - gain * _double(norm.running_mean)) / out
    real_weights = _double(module.weight)
    weight_scales = channel_scales(real_weights)
    factors = gain * weight_scales * source / out
    added = scales[spec.residual] / out if spec.residual is not None else 0.0
    shift = common_shift(spec.name, np.append(factors, added), offsets)
    multipliers, weight_scales = whole_multipliers(factors, weight_scales, shift)
    weights = quantize_weights(real_weights, weight_scales)
    return Convolution(
        name=spec.name,
        source=spec.source,
        weights=weights,
        multipliers=multipliers,
        bias=np.rint(offsets * 2**shift).astype(np.int64),
        shift=shift,
        low=0 if spec.relu else -128,
        high=255 if spec.relu else 127,
        stride=spec.stride,
        padding=(spec.kernel // 2,) * 4,
        groups=spec.groups,
        thresholds=_thresholds(module, weight_scales * source, weights),
        residual=_residual(model, spec, round(added * 2**shift)),
        relu_before_add=spec.relu_before_add,
    )


def _thresholds(module: ChannelGatedConv2d, unit: np.ndarray, weights: np.ndarray):
    if module.groups == 1:
        return None
    norm = module.norm
    return fold_gate(
        _double(norm.running_mean),
        _double(norm.running_var),
        norm.eps,
        _double(module.delta),
        unit,
        weights,
    )


def _residual(model: GatedNetwork, spec: LayerSpec, multiplier: int) -> Residual | None:
    if spec.residual is None:
        return None
    stride = _total_stride(model, spec.name) // _total_stride(model, spec.residual)
    return Residual(source=spec.residual, stride=stride, multiplier=multiplier)


def _total_stride(model: GatedNetwork, name: str | None = None) -> int:
    """Input pixels per pixel of a layer's output, in one direction; the last layer by default."""
    layers = {layer.name: layer for layer in model.spec.layers}
    name = name or model.spec.layers[-1].name
    stride = 1
    while name != INPUT:
        stride *= layers[name].stride
        name = layers[name].source
    return stride


def _average(source: str, factor: float) -> Pool:
    shift = common_shift(POOL, np.array([factor]), np.zeros(1))
    return Pool(
        name=POOL, source=source, kind="average", multiplier=round(factor * 2**shift), shift=shift
    )


def _classifier(model: GatedNetwork, source_scale: float) -> Classifier:
    weight = _double(model.classifier.weight)
    scale = np.abs(weight).max() / LARGEST_WEIGHT or 1.0
    bias = np.rint(_double(model.classifier.bias) / (scale * source_scale))
    if np.abs(bias).max() >= 2**31:
        raise PenstockError(f"layer {CLASSIFIER}: biases must fit 32 bits, not {bias.max():g}")
    return Classifier(
        name=CLASSIFIER,
        source=POOL,
        weights=quantize_weights(weight, np.full(len(weight), scale)),
        bias=bias.astype(np.int32),
    )
