"""Recognizes the hardware's layers in a list of operators: one way for every source of a network.

A convolution collects what follows it, batch norm, ReLU, an addition, ReLU, as long as nobody else
reads what is between; that is one layer. Slices and zero padding are no layers: they are views that
a residual, or a convolution's padding, takes in.
"""

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from penstock.errors import PenstockError
from penstock.gold.float_network import (
    FloatClassifier,
    FloatConvolution,
    FloatGate,
    FloatLayer,
    FloatNetwork,
    FloatPool,
    Format,
)
from penstock.gold.operators import Graph, Operator
from penstock.network import INPUT, Shape, output_size

NO_PADDING = (0, 0, 0, 0)


def recognize(graph: Graph, *, name: str, input: Shape, input_scale: float) -> FloatNetwork:
    """The float network of a graph of operators.

    A result that is a 1x1 map, but no linear layer's, is copied out by a classifier whose weights
    are the identity. Raises PenstockError naming the layer for what the hardware does not compute.
    """
    if not 0 < input_scale < math.inf:
        raise PenstockError(f"input scale: must be a positive number, not {input_scale!r}")
    return _Recognizer(graph, name, input, input_scale).run()


@dataclass(frozen=True, kw_only=True)
class _Map:
    """A tensor that is stored, or a view of it: every step-th pixel, zero channels, padding."""

    tensor: str
    shape: tuple[int, int, int]  # as it is stored
    signed: bool
    format: Format | None
    steps: tuple[int, int] = (1, 1)
    surplus: tuple[int, int] = (0, 0)  # zero channels before and behind
    padding: tuple[int, int, int, int] = NO_PADDING

    @property
    def whole(self) -> bool:
        """Whether it is the tensor as it is stored, padding aside."""
        return self.steps == (1, 1) and self.surplus == (0, 0)


@dataclass(kw_only=True, eq=False)
class _Open:
    """A layer whose following operators may still become part of it."""

    name: str
    source: str
    shape: tuple[int, int, int]
    stride: int
    padding: tuple[int, int, int, int]
    last: int  # index of its last operator, which orders the layers
    format: Format | None = None
    stored: _Map | None = None  # once it is closed


@dataclass(kw_only=True, eq=False)
class _OpenPool(_Open):
    pooling: str
    window: tuple[int, int] | None
    signed: bool

    def layer(self) -> FloatPool:
        return FloatPool(
            name=self.name,
            source=self.source,
            kind=self.pooling,
            window=self.window,
            stride=self.stride,
            padding=self.padding,
        )


@dataclass(kw_only=True, eq=False)
class _OpenConvolution(_Open):
    weights: np.ndarray
    units: np.ndarray | None
    gain: np.ndarray
    offset: np.ndarray
    gate: FloatGate | None = None
    linear: bool = False
    relu: bool = False
    relu_before_add: bool = False
    residual: _Map | None = None

    @property
    def signed(self) -> bool:
        rectified = self.relu_before_add and not self.residual.signed
        return not (self.relu or rectified)

    @property
    def affine(self) -> bool:
        """Whether it is nothing but products and constants."""
        return not (self.relu or self.residual or self.format)

    @property
    def classifies(self) -> bool:
        """Whether a classifier computes it: products and a bias, in one unit for all classes."""
        one_unit = self.units is None or bool((self.units == self.units[0]).all())
        plain = not (self.relu or self.residual) and bool((self.gain == 1).all())
        return self.linear and plain and one_unit

    def layer(self) -> FloatConvolution:
        return FloatConvolution(
            name=self.name,
            source=self.source,
            weights=self.weights,
            units=self.units,
            gain=self.gain,
            offset=self.offset,
            stride=self.stride,
            padding=self.padding,
            gate=self.gate,
            residual=self.residual and self.residual.tensor,
            residual_stride=self.residual.steps[0] if self.residual else 1,
            relu=not self.signed,
            relu_before_add=self.relu_before_add,
        )


@dataclass
class _Recognizer:
    graph: Graph
    name: str
    input: Shape
    input_scale: float
    values: dict[str, _Map | _Open] = field(default_factory=dict)  # by the graph's tensors
    layers: list[tuple[int, FloatLayer]] = field(default_factory=list)  # with _Open.last
    formats: dict[str, Format] = field(default_factory=dict)  # by layers
    names: set[str] = field(default_factory=lambda: {INPUT})
    index: int = 0  # of the operator that is looked at

    def run(self) -> FloatNetwork:
        graph = self.graph
        self.quantized = any(operator.kind == "quantize" for operator in graph.operators)
        self.readers = Counter(name for each in graph.operators for name in each.inputs)
        self.readers[graph.output] += 1
        shape = self.input.channels, self.input.height, self.input.width
        self.values[graph.input] = _Map(
            tensor=INPUT, shape=shape, signed=self.input.signed, format=None
        )
        for self.index, operator in enumerate(graph.operators):
            method = getattr(self, f"_{operator.kind}")
            self.values[operator.output] = method(operator, **operator.fields)
        self.index += 1
        self._finish()
        if self.quantized and INPUT not in self.formats:
            raise PenstockError(
                "network input: must be quantized, as the others are, and is not: no "
                "QuantizeLinear or Quant behind it"
            )
        return FloatNetwork(
            name=self.name,
            input=self.input,
            input_scale=self.input_scale,
            layers=tuple(layer for _, layer in sorted(self.layers, key=lambda each: each[0])),
            formats=self.formats,
        )

    # Tensors

    def _unique(self, name: str) -> str:
        count, unique = 1, name
        while unique in self.names:
            count += 1
            unique = f"{name}_{count}"
        self.names.add(unique)
        return unique

    def _open(self, tensor: str) -> _Open | None:
        """The layer that makes a tensor, if the one that reads it may become part of it."""
        value = self.values[tensor]
        is_open = isinstance(value, _Open) and value.stored is None and self.readers[tensor] == 1
        return value if is_open else None

    def _open_convolution(self, tensor: str) -> _OpenConvolution | None:
        value = self._open(tensor)
        return value if isinstance(value, _OpenConvolution) else None

    def _stored(self, tensor: str) -> _Map:
        """A tensor as it lies in memory; the layer that makes it is complete."""
        value = self.values[tensor]
        return self._close(value) if isinstance(value, _Open) else value

    def _close(self, value: _Open) -> _Map:
        if value.stored is None:
            signed, form = value.signed, value.format
            if isinstance(value, _OpenPool) and value.pooling == "max":
                form = self.formats.get(value.source)
            elif self.quantized and form is None:
                raise PenstockError(
                    f"layer {value.name}: what it gives must be quantized, as the others are, and "
                    "is not: no QuantizeLinear or Quant behind it"
                )
            if form is not None:
                form = form if signed else dataclasses.replace(form, low=max(form.low, 0))
                self.formats[value.name] = form
            value.stored = _Map(tensor=value.name, shape=value.shape, signed=signed, format=form)
            self.layers.append((value.last, value.layer()))
        return value.stored

    def _same(self, operator: Operator) -> _Map | _Open:
        (tensor,) = operator.inputs
        return self._open(tensor) or self._stored(tensor)

    def _whole(self, operator: Operator, padded: bool = False) -> _Map:
        """What an operator reads: a stored tensor, no view of one."""
        value = self._stored(operator.inputs[0])
        if not value.whole or (any(value.padding) and not padded):
            raise PenstockError(
                f"layer {operator.name}: must read a whole tensor; slices and zero channels can "
                "only be added, zero pixels only be read by a convolution"
            )
        return value

    # Layers

    def _convolution(
        self,
        operator: Operator,
        *,
        weights: np.ndarray,
        units: np.ndarray | None = None,
        bias: np.ndarray | None = None,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] = NO_PADDING,
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        gate: FloatGate | None = None,
        linear: bool = False,
    ) -> _OpenConvolution:
        name, kernel = operator.name, weights.shape[2:]
        if kernel[0] != kernel[1]:
            _refuse(name, "kernel must be 1x1 or 3x3", f"{kernel[0]}x{kernel[1]}")
        if set(dilation) != {1}:
            _refuse(name, "dilation must be 1", dilation)
        if self.quantized and units is None:
            raise PenstockError(
                f"layer {name}: weights must be quantized, as other tensors are, and are not: no "
                "DequantizeLinear or Quant before them"
            )
        if groups != 1:
            _refuse(name, "groups must be 1, those of a gate aside", groups)
        source = self._whole(operator, padded=True)
        if weights.shape[1] != source.shape[0]:
            _refuse(name, f"weights must have {source.shape[0]} input channels", weights.shape[1])
        padding = tuple(np.add(padding, source.padding).tolist())
        return _OpenConvolution(
            name=self._unique(name),
            source=source.tensor,
            shape=_output_shape(name, source, len(weights), kernel, stride, padding),
            weights=weights,
            units=units,
            gain=np.ones(len(weights)),
            offset=np.zeros(len(weights)) if bias is None else bias,
            stride=stride[0],
            padding=padding,
            gate=gate,
            linear=linear,
            last=self.index,
        )

    def _linear(self, operator: Operator, *, weights: np.ndarray, **others) -> _OpenConvolution:
        source = self._whole(operator)
        if source.shape != (weights.shape[1], 1, 1):
            _refuse(
                operator.name,
                f"a linear layer must read a map of {weights.shape[1]}x1x1",
                _sizes(source.shape),
            )
        weights = weights[:, :, None, None]
        return self._convolution(operator, weights=weights, linear=True, **others)

    def _identity(self, operator: Operator, source: _Map) -> _OpenConvolution:
        """A layer of its own for an operator that follows no convolution: a 1x1 convolution."""
        if not source.whole or any(source.padding):
            raise PenstockError(
                f"layer {operator.name}: must read a whole tensor, or follow a convolution"
            )
        channels = source.shape[0]
        return _OpenConvolution(
            name=self._unique(operator.name),
            source=source.tensor,
            shape=source.shape,
            weights=np.eye(channels)[:, :, None, None],
            units=np.ones(channels) if self.quantized else None,
            gain=np.ones(channels),
            offset=np.zeros(channels),
            stride=1,
            padding=NO_PADDING,
            last=self.index,
        )

    def _affine(self, operator: Operator) -> _OpenConvolution:
        """The convolution that takes in a factor and an offset for each channel."""
        (tensor,) = operator.inputs
        value = self._open_convolution(tensor)
        if value is None or not value.affine:
            value = self._identity(operator, self._stored(tensor))
        value.last = self.index
        return value

    def _batch_norm(
        self,
        operator: Operator,
        *,
        weight: np.ndarray,
        bias: np.ndarray,
        mean: np.ndarray,
        variance: np.ndarray,
        epsilon: float,
    ) -> _OpenConvolution:
        value = self._affine(operator)
        gain = weight / np.sqrt(variance + epsilon)
        value.offset = bias + gain * (value.offset - mean)
        value.gain = gain * value.gain
        return value

    def _bias(self, operator: Operator, *, values: np.ndarray) -> _OpenConvolution:
        value = self._affine(operator)
        value.offset = value.offset + values
        return value

    def _scale(self, operator: Operator, *, factor: float) -> _Map | _Open:
        value = self._stored(operator.inputs[0])
        if value.tensor != INPUT or value.format or self.readers[operator.inputs[0]] > 1:
            _refuse(operator.name, "only the image may be multiplied with a number", factor)
        if factor <= 0:
            _refuse(operator.name, "the image's factor must be positive", factor)
        self.input_scale *= factor
        return value

    def _relu(self, operator: Operator) -> _Map | _Open:
        (tensor,) = operator.inputs
        value = self._open_convolution(tensor)
        if value is None:
            stored = self._stored(tensor)
            if not stored.signed:
                return stored
            value = self._identity(operator, stored)
        value.relu = True
        value.last = self.index
        return value

    def _add(self, operator: Operator) -> _OpenConvolution:
        """The operand that becomes the sum is a convolution; of two, that of the larger kernel."""
        tensors = list(operator.inputs)
        able = [tensor for tensor in tensors if self._can_carry(tensor)]
        if able:
            carrier = max(able, key=lambda each: self.values[each].weights.shape[2])
            value = self._open_convolution(carrier)
        else:
            views = {tensor: self._stored(tensor) for tensor in tensors}
            carrier = max(tensors, key=lambda each: views[each].whole)
            value = self._identity(operator, views[carrier])
        tensors.remove(carrier)
        residual = self._stored(tensors[0])
        self._check_residual(operator, value, residual)
        value.residual = residual
        value.relu_before_add, value.relu = value.relu, False
        value.last = self.index
        return value

    def _can_carry(self, tensor: str) -> bool:
        value = self._open_convolution(tensor)
        return value is not None and value.residual is None and not self.quantized

    def _check_residual(self, operator: Operator, value: _OpenConvolution, residual: _Map):
        if residual.steps[0] != residual.steps[1] or any(residual.padding):
            _refuse(
                operator.name,
                "a shortcut must take the same steps in both directions, and no padding of pixels",
                f"{residual.steps}, {residual.padding}",
            )
        (channels, *sides), (before, behind) = residual.shape, residual.surplus
        covered = channels + before + behind, *(-(-side // residual.steps[0]) for side in sides)
        if before != behind or covered != value.shape:
            _refuse(
                operator.name,
                f"a shortcut must be {_sizes(value.shape)}, with as many zero channels before as "
                "behind the others",
                f"{_sizes(covered)}, {before} before and {behind} behind",
            )

    def _pool(
        self,
        operator: Operator,
        *,
        pooling: str,
        window: tuple[int, int] | None = None,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] = NO_PADDING,
        counts_padding: bool = True,
        ceil: bool = False,
    ) -> _Map | _OpenPool:
        if window == (1, 1) and not any(padding):
            view = self._stored(operator.inputs[0])
            steps = view.steps[0] * stride[0], view.steps[1] * stride[1]
            return dataclasses.replace(view, steps=steps)
        source = self._whole(operator)
        if window in (None, source.shape[1:]) and not any(padding):
            window, stride, sides = None, (1, 1), source.shape[1:]
        else:
            sides = window
        if any(padding) and pooling == "average" and not counts_padding:
            _refuse(
                operator.name, "an average must count its padding", "have count_include_pad = 0"
            )
        if ceil and window is not None:
            _refuse(operator.name, "windows must lie within the padded map", "ceil_mode")
        shape = _output_shape(operator.name, source, source.shape[0], sides, stride, padding)
        return _OpenPool(
            name=self._unique(operator.name),
            source=source.tensor,
            shape=shape,
            pooling=pooling,
            window=window,
            stride=stride[0],
            padding=padding,
            signed=source.signed,
            last=self.index,
        )

    # Views

    def _flatten(self, operator: Operator, *, shape: tuple[int, ...]) -> _Map | _Open:
        value = self._same(operator)
        if value.shape[1:] != (1, 1) or shape[1:2] != value.shape[:1]:
            _refuse(
                operator.name,
                "only 1x1 maps can be flattened, as global average pooling gives them, and only "
                "to their channels",
                f"{_sizes(value.shape)} to {shape}",
            )
        return value

    def _slice(
        self, operator: Operator, *, ranges: dict[int, tuple[int, int, int]]
    ) -> _Map | _Open:
        sizes = (0, *self._same(operator).shape)
        steps = [1, 1]
        for axis, (start, stop, step) in ranges.items():
            whole = start == 0 and stop >= sizes[axis]
            if not whole or step < 1 or (axis < 2 and step > 1):
                _refuse(
                    operator.name,
                    "a slice must take every n-th row or column, from the first to the end",
                    f"{start}:{stop}:{step} of axis {axis}",
                )
            if axis >= 2:
                steps[axis - 2] = step
        if steps == [1, 1]:
            return self._same(operator)
        view = self._stored(operator.inputs[0])
        return dataclasses.replace(view, steps=tuple(np.multiply(view.steps, steps).tolist()))

    def _pad(
        self,
        operator: Operator,
        *,
        before: tuple[int, int, int, int],
        after: tuple[int, int, int, int],
        value: float,
    ) -> _Map | _Open:
        if not any(before + after):
            return self._same(operator)
        if value != 0 or min(before + after) < 0 or before[0] or after[0]:
            _refuse(
                operator.name,
                "padding must be zeros around channels or pixels",
                f"{before}, {after} of {value:g}",
            )
        view = self._stored(operator.inputs[0])
        surplus = view.surplus[0] + before[1], view.surplus[1] + after[1]
        sides = before[2], before[3], after[2], after[3]
        padding = tuple(np.add(view.padding, sides).tolist())
        return dataclasses.replace(view, surplus=surplus, padding=padding)

    # Quantized networks

    def _quantize(self, operator: Operator, *, format: Format) -> _Map | _Open:
        value = self._open(operator.inputs[0])
        if value is not None and not (isinstance(value, _OpenPool) and value.pooling == "max"):
            if value.format is None:
                value.format, value.last = format, self.index
            if value.format.scale == format.scale:
                low, high = max(value.format.low, format.low), min(value.format.high, format.high)
                value.format = Format(scale=format.scale, low=low, high=high)
                if isinstance(value, _OpenConvolution):
                    value.relu |= low == 0
                return value
        stored = self._stored(operator.inputs[0])
        if stored.tensor == INPUT and stored.format is None:
            self.input = dataclasses.replace(self.input, signed=format.low < 0)
            self.input_scale = format.scale
            self.formats[INPUT] = format
            return dataclasses.replace(stored, format=format, signed=format.low < 0)
        have = stored.format
        if (
            have
            and have.scale == format.scale
            and format.low <= have.low <= have.high <= format.high
        ):
            return stored
        value = self._identity(operator, stored)
        value.format, value.relu = format, format.low == 0
        return value

    # The result

    def _finish(self):
        value = self.values[self.graph.output]
        if isinstance(value, _OpenConvolution) and value.stored is None and value.classifies:
            self._classify(value.name, value.source, value.weights, value.units, value.offset)
            return
        stored = self._stored(self.graph.output)
        if stored.shape[1:] == (1, 1) and stored.whole and stored.tensor != INPUT:
            channels = stored.shape[0]
            units = np.ones(channels)
            name = self._unique(f"{stored.tensor}_output")
            self._classify(name, stored.tensor, np.eye(channels), units, np.zeros(channels))

    def _classify(self, name: str, source: str, weights, units, bias):
        self.layers.append(
            (
                self.index,
                FloatClassifier(
                    name=name,
                    source=source,
                    weights=weights.reshape(len(weights), -1),
                    units=units,
                    bias=bias,
                ),
            )
        )


def _refuse(name: str, rule: str, came):
    raise PenstockError(f"layer {name}: {rule}, not {came}")


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _output_shape(name, source: _Map, channels, window, stride, padding) -> tuple[int, int, int]:
    if stride[0] != stride[1]:
        _refuse(name, "stride must be the same in both directions", stride)
    top, left, bottom, right = padding
    height = output_size(source.shape[1], window[0], stride[0], top, bottom)
    width = output_size(source.shape[2], window[1], stride[0], left, right)
    if min(height, width) < 1:
        _refuse(
            name,
            f"the map must be at least as large as the window of {window[0]}x{window[1]}",
            f"{source.shape[1]}x{source.shape[2]}",
        )
    return channels, height, width
