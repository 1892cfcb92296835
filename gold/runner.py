"""Runs a quantized network on images: every intermediate tensor, decisions and MAC counts."""

from dataclasses import dataclass

import numpy as np

from penstock.errors import PenstockError
from penstock.gold.convolution import base_path, conditional_path, convolution
from penstock.gold.gate import gate
from penstock.gold.pool import average_pool, max_pool
from penstock.gold.requantize import embed_channels, requantize
from penstock.network import INPUT, Classifier, Convolution, Network, Pool


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """What a network computed for N images.

    ``tensors``: the input and each layer's output by name, (N, C, H, W) uint8 or int8; that of a
    classifier is (N, classes) int32. ``decisions``: for each gated layer, (N, C, H, W) bool, True
    where the conditional path was taken; empty where gating is off. MACs count real channels, and
    padding taps too.
    """

    tensors: dict[str, np.ndarray]
    decisions: dict[str, np.ndarray]
    layer_macs_dense: dict[str, int]  # MACs of one image with gating off, by layer
    layer_macs_executed: dict[str, np.ndarray]  # (N,) int64 MACs executed, by layer

    @property
    def macs_dense(self) -> int:
        """MACs of one image with gating off, whole network."""
        return sum(self.layer_macs_dense.values())

    @property
    def macs_executed(self) -> np.ndarray:
        """(N,) int64 MACs executed for each image: all base MACs, conditional ones where d = 1."""
        return np.sum(list(self.layer_macs_executed.values()), axis=0)

    @property
    def mac_reduction(self) -> float:
        """Dense MACs over executed MACs, all images together."""
        return self.macs_dense * len(self.macs_executed) / int(self.macs_executed.sum())

    @property
    def output(self) -> np.ndarray:
        """The last layer's tensor."""
        return next(reversed(self.tensors.values()))

    @property
    def classes(self) -> np.ndarray:
        """(N,) class of each image: argmax of the classifier's integers, the first on a tie."""
        return self.output.reshape(len(self.output), -1).argmax(axis=1)


def run(network: Network, images: np.ndarray, gating: bool = True) -> Result:
    """Run a network, layer after layer, for all images at once.

    images (N, C, H, W), uint8 or int8 as ``network.input`` says; with gating off every gated layer
    is an ordinary convolution. Raises PenstockError for images of another shape or dtype.
    """
    _check_images(network, images)
    tensors = {INPUT: images}
    decisions, dense, executed = {}, {}, {}
    for layer in network.layers:
        source = tensors[layer.source]
        dense[layer.name], base = network.macs(layer)
        executed[layer.name] = np.full(len(images), dense[layer.name], np.int64)
        if isinstance(layer, Convolution):
            psum, decision = _sums(layer, source, gating)
            if decision is not None:
                decisions[layer.name] = decision
                executed[layer.name] = base + _conditional_macs(layer, decision)
            tensors[layer.name] = _requantize(layer, psum, tensors)
        else:
            tensors[layer.name] = _OTHERS[type(layer)](layer, source)
    return Result(
        tensors=tensors,
        decisions=decisions,
        layer_macs_dense=dense,
        layer_macs_executed=executed,
    )


def _check_images(network: Network, images: np.ndarray):
    shape = network.input
    dtype = np.dtype(np.int8 if shape.signed else np.uint8)
    expected = (shape.channels, shape.height, shape.width)
    if images.ndim != 4 or images.shape[1:] != expected or images.dtype != dtype:
        raise PenstockError(
            f"images: must be {dtype.name} (N, {shape.channels}, {shape.height}, {shape.width}), "
            f"not {images.dtype.name} {images.shape}"
        )


def _sums(layer: Convolution, source: np.ndarray, gating: bool):
    """(sums before requantization, decisions); decisions are None where nothing is gated."""
    if layer.thresholds is None or not gating:
        return convolution(source, layer.weights, layer.stride, layer.padding), None
    where = (layer.groups, layer.stride, layer.padding)
    psum = base_path(source, layer.weights, *where)
    decision = gate(psum, layer.thresholds)
    psum += decision * conditional_path(source, layer.weights, *where)
    return psum, decision


def _conditional_macs(layer: Convolution, decision: np.ndarray) -> np.ndarray:
    """(N,) int64 MACs of the conditional path."""
    _, in_channels, kernel, _ = layer.weights.shape
    per_output = (in_channels - in_channels // layer.groups) * kernel**2
    return decision.sum(axis=(1, 2, 3), dtype=np.int64) * per_output


def _requantize(layer: Convolution, psum: np.ndarray, tensors: dict) -> np.ndarray:
    residual, multiplier = None, 0
    if layer.residual is not None:
        multiplier = layer.residual.multiplier
        residual = embed_channels(
            tensors[layer.residual.source], psum.shape[1], layer.residual.stride
        )
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


def _pool(layer: Pool, source: np.ndarray) -> np.ndarray:
    window = layer.window or source.shape[2:]
    if layer.kind == "max":
        return max_pool(source, window, layer.stride, layer.padding)
    return average_pool(
        source,
        window,
        layer.multiplier,
        layer.shift,
        layer.low,
        layer.high,
        layer.stride,
        layer.padding,
    )


def _classify(layer: Classifier, source: np.ndarray) -> np.ndarray:
    """(N, classes) int32 of ``weights @ source + bias``, refused where 32 bits cannot hold it."""
    sums = convolution(source, layer.weights[:, :, None, None])[:, :, 0, 0] + layer.bias
    if np.abs(sums).max(initial=0) >= 2**31:
        raise PenstockError(f"layer {layer.name}: results must fit signed 32 bits")
    return sums.astype(np.int32)


_OTHERS = {Pool: _pool, Classifier: _classify}
