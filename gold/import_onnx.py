"""ONNX models become integer networks: float ones by calibration, quantized ones as they are."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penstock.errors import PenstockError
from penstock.gold.float_network import FloatNetwork, Format
from penstock.gold.operators import Graph, Operator, refuse_operator
from penstock.gold.quantize import INPUT_SCALE, calibrate
from penstock.gold.recognize import recognize
from penstock.images import check_calibration
from penstock.network import Network, Shape

QUANT_DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
"""Domains of the operator Quant of QONNX models."""


def import_onnx(
    path: str | os.PathLike,
    images: np.ndarray | None = None,
    *,
    input_scale: float | None = None,
) -> Network:
    """The integer network of an ONNX model, named as its file.

    A float model needs images (N, C, H, W) uint8 to calibrate it, and takes the real value of one
    of their levels (1/255 unless told otherwise). A quantized one (QuantizeLinear and
    DequantizeLinear, or QONNX's Quant) keeps its integers and scales and takes neither. Raises
    PenstockError naming the layer or tensor, its rule and what came for what the hardware does not
    compute, where the file is no such model, and where the package onnx is missing.
    """
    return calibrate(read_onnx(path, images, input_scale=input_scale), images)


def read_onnx(
    path: str | os.PathLike,
    images: np.ndarray | None = None,
    *,
    input_scale: float | None = None,
) -> FloatNetwork:
    """The float network of an ONNX model, with formats if it is quantized, before calibration.

    Arguments are import_onnx's, as is what is refused.
    """
    network = _recognized(path, INPUT_SCALE if input_scale is None else input_scale)
    if network.formats:
        if images is not None or input_scale is not None:
            raise PenstockError(
                f"model {path}: must be a float model to be calibrated or take an input scale, "
                "and is quantized"
            )
        return network
    if images is None:
        raise PenstockError(
            f"model {path}: a float model needs images to calibrate it (--calibrate IMAGES.npz)"
        )
    check_calibration(images)
    shape = network.input.channels, network.input.height, network.input.width
    if images.shape[1:] != shape:
        raise PenstockError(
            f"calibration images: must be {'x'.join(map(str, shape))} as the model's input, "
            f"not {'x'.join(map(str, images.shape[1:]))}"
        )
    return network


def _recognized(path: str | os.PathLike, input_scale: float) -> FloatNetwork:
    converter = _Converter(_load(path))
    graph = converter.run()
    channels, height, width = converter.image_shape()
    return recognize(
        graph,
        name=Path(path).stem,
        input=Shape(channels=channels, height=height, width=width, signed=False),
        input_scale=input_scale,
    )


def _onnx():
    try:
        import onnx
        import onnx.reference
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise PenstockError(
            "model: needs the package onnx, which is not installed: pip install 'penstock[onnx]'"
        ) from None
    return onnx


def _load(path: str | os.PathLike):
    onnx = _onnx()
    if not Path(path).is_file():
        raise PenstockError(f"model {path}: no such file")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
        return model
    except Exception as error:  # protobuf's, the checker's and those of missing external data
        first = str(error).strip().partition("\n")[0]
        raise PenstockError(f"model {path}: must be a whole ONNX model ({first})") from None


@dataclass(frozen=True)
class _Constant:
    """An array, and the scale (n,) along an axis, where it is integers times that."""

    values: np.ndarray
    scale: np.ndarray | None = None
    axis: int = 0

    def units(self, name: str, outputs: int) -> np.ndarray | None:
        """(O,) the scale of each output channel, which is axis ``outputs``; name is the layer's."""
        if self.scale is None or (len(self.scale) > 1 and self.axis == outputs):
            return self.scale
        if len(self.scale) > 1:
            raise PenstockError(
                f"layer {name}: weights must have one scale for each output channel, axis "
                f"{outputs}, not along axis {self.axis}"
            )
        return np.full(self.values.shape[outputs], self.scale[0])


class _Converter:
    """Turns an ONNX graph into operators; what constants and shapes alone decide is computed."""

    def __init__(self, model):
        self.onnx = _onnx()
        self.model = model
        self.graph = model.graph
        self.constants = {
            each.name: _Constant(self._array(each)) for each in self.graph.initializer
        }
        self.inputs = [each for each in self.graph.input if each.name not in self.constants]
        self._infer_shapes()
        self.operators: list[Operator] = []
        self.quantized: dict[str, float] = {}  # scales of what QuantizeLinear gives

    def _infer_shapes(self):
        """Find the shapes of all tensors; ONNX's inference does not know Quant, which keeps one."""
        model = self.onnx.ModelProto()
        model.CopyFrom(self.model)
        for node in model.graph.node:
            if node.domain in QUANT_DOMAINS:
                node.op_type, node.domain = "Identity", ""
                del node.input[1:], node.attribute[:]
        graph = self.onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        values = (*graph.value_info, *graph.input, *graph.output)
        self.shapes = {each.name: _shape(each) for each in values}

    def run(self) -> Graph:
        if len(self.inputs) != 1 or len(self.graph.output) != 1:
            raise PenstockError(
                "model: must have one input and one output, not "
                f"{len(self.inputs)} and {len(self.graph.output)}"
            )
        self.image_shape()
        while self._simplify():
            self._infer_shapes()
        for node in self.graph.node:
            self._convert(node)
        return Graph(
            operators=tuple(self.operators),
            input=self.inputs[0].name,
            output=self.graph.output[0].name,
        )

    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the input."""
        name = self.inputs[0].name
        sizes = self.shapes[name]
        if len(sizes) != 4:
            raise PenstockError(f"input {name}: must be (N, C, H, W), not {sizes}")
        for axis, size in zip(("batch", "channels", "height", "width"), sizes, strict=True):
            if not isinstance(size, int):
                raise PenstockError(
                    f"input {name}: {axis} must be a number, not {size or 'open'} (export without "
                    "dynamic axes, or fix it: python -m onnxruntime.tools.make_dynamic_shape_fixed "
                    f"--dim_param {size or axis} --dim_value SIZE MODEL FIXED)"
                )
        return tuple(sizes[1:])

    def _simplify(self) -> bool:
        """Replace nodes that constants and known shapes decide; tell whether there were any."""
        kept = [node for node in self.graph.node if not self._fold(node)]
        if len(kept) == len(self.graph.node):
            return False
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(kept)
        self.graph.initializer.extend(
            self.onnx.numpy_helper.from_array(constant.values, name)
            for name, constant in self.constants.items()
        )
        return True

    def _fold(self, node) -> bool:
        """Compute a node whose result is constant; tell whether it is."""
        if node.op_type == "Shape" and self._is_static(node.input[0]):
            shape = np.array(self.shapes[node.input[0]], np.int64)
            first, last = self.attribute(node, "start", 0), self.attribute(node, "end", None)
            self.constants[node.output[0]] = _Constant(shape[first:last])
            return True
        constant = all(name in self.constants for name in filter(None, node.input))
        if not constant or node.op_type in _KEPT:
            return False
        for name, value in zip(node.output, self._evaluate(node), strict=True):
            self.constants[name] = _Constant(np.asarray(value))
        return True

    def _convert(self, node):
        known = node.domain in ("", "ai.onnx", *QUANT_DOMAINS)
        convert = _CONVERT.get(node.op_type) if known else None
        if convert is None:
            refuse_operator(self.name(node), node.op_type)
        result = convert(self, node)
        if result is None:  # a constant
            return
        kind, fields = result
        inputs = tuple(name for name in node.input if name and name not in self.constants)
        self.operators.append(
            Operator(
                kind=kind,
                name=self.name(node, kind),
                inputs=inputs,
                output=node.output[0],
                fields=fields,
            )
        )

    def _is_static(self, name: str) -> bool:
        return all(isinstance(size, int) for size in self.shapes.get(name, (None,)))

    def _evaluate(self, node) -> list:
        """What a node of constants gives, by ONNX's own reference."""
        make = self.onnx.helper
        graph = make.make_graph(
            [node],
            "constants",
            [],
            [make.make_empty_tensor_value_info(name) for name in node.output],
            [
                self.onnx.numpy_helper.from_array(self.constants[name].values, name)
                for name in dict.fromkeys(filter(None, node.input))
            ],
        )
        model = make.make_model(
            graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version
        )
        try:
            return self.onnx.reference.ReferenceEvaluator(model).run(None, {})
        except Exception as error:  # whatever an operator does not take
            raise PenstockError(
                f"layer {self.name(node)}: operator {node.op_type} of constants must be one that "
                f"onnx.reference computes ({error})"
            ) from None

    def _array(self, tensor) -> np.ndarray:
        array = self.onnx.numpy_helper.to_array(tensor)
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise PenstockError(
                f"weights {tensor.name}: must be finite numbers, not NaN or infinite"
            )
        return array

    def attribute(self, node, name: str, default):
        """An attribute of a node."""
        for each in node.attribute:
            if each.name == name:
                value = self.onnx.helper.get_attribute_value(each)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def constant(self, node, index: int, what: str) -> _Constant | None:
        """An input of a node that must be constant; None where it has none."""
        if index >= len(node.input) or not node.input[index]:
            return None
        if node.input[index] not in self.constants:
            raise PenstockError(f"layer {self.name(node)}: {what} must be constants, not computed")
        return self.constants[node.input[index]]

    def required(self, node, index: int, what: str) -> np.ndarray:
        """The array of a constant that an old version of the operator has as an attribute."""
        constant = self.constant(node, index, what)
        if constant is None:
            raise PenstockError(
                f"layer {self.name(node)}: {what} must be an input of {node.op_type}, as in opset "
                "11 and later"
            )
        return constant.values

    def floats(self, node, index: int, what: str) -> np.ndarray | None:
        """The same as float64."""
        constant = self.constant(node, index, what)
        return constant and constant.values.astype(np.float64)

    def name(self, node, kind: str = "") -> str:
        """A layer's name: the module that the exporter names, else the node, else its output."""
        weight = node.input[1] if len(node.input) > 1 else ""
        module = weight.rpartition(".weight")[0]
        if module and kind in ("convolution", "linear", ""):
            return module
        if not node.name.startswith("/"):
            return node.name.removeprefix("node_") or node.output[0]
        parts: list[str] = []
        for part in node.name.strip("/").split("/")[:-1]:
            if parts and part.startswith(f"{parts[-1]}."):
                parts.pop()
            parts.append(part)
        is_module = parts and kind in ("convolution", "linear", "pool")
        return ".".join(parts if is_module else [*parts, kind or node.op_type])


def _shape(value) -> tuple[int | str, ...]:
    """Sizes of a tensor: numbers, symbols' names, or "" where nothing is known."""
    dimensions = value.type.tensor_type.shape.dim
    return tuple(
        each.dim_value if each.HasField("dim_value") else each.dim_param for each in dimensions
    )


def _window(converter: _Converter, node, kernel: tuple[int, ...]) -> dict:
    """stride and padding of a convolution or pooling."""
    stride = tuple(converter.attribute(node, "strides", (1, 1)))
    padding = tuple(converter.attribute(node, "pads", (0, 0, 0, 0)))
    automatic = converter.attribute(node, "auto_pad", "NOTSET")
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        sizes = converter.shapes.get(node.input[0], ())[2:]
        total = [
            max((-(-size // step) - 1) * step + side - size, 0)
            for size, step, side in zip(sizes, stride, kernel, strict=True)
        ]
        less, more = [each // 2 for each in total], [-(-each // 2) for each in total]
        padding = (*less, *more) if automatic == "SAME_UPPER" else (*more, *less)
    return {"stride": stride, "padding": padding}


def _convolution(converter: _Converter, node):
    weights = converter.constant(node, 1, "weights")
    if weights.values.ndim != 4:
        raise PenstockError(
            f"layer {converter.name(node)}: weights must be (O, I, k, k), "
            f"not {weights.values.shape}"
        )
    return "convolution", {
        "weights": weights.values.astype(np.float64),
        "units": weights.units(converter.name(node), 0),
        "bias": converter.floats(node, 2, "biases"),
        "dilation": tuple(converter.attribute(node, "dilations", (1, 1))),
        "groups": converter.attribute(node, "group", 1),
        **_window(converter, node, weights.values.shape[2:]),
    }


def _gemm(converter: _Converter, node):
    factors = [converter.attribute(node, name, 1.0) for name in ("alpha", "beta")]
    if factors != [1.0, 1.0] or converter.attribute(node, "transA", 0):
        raise PenstockError(
            f"layer {converter.name(node)}: Gemm must be x @ W + b, without alpha, beta or transA"
        )
    weights = converter.constant(node, 1, "weights")
    transposed = bool(converter.attribute(node, "transB", 0))
    bias = converter.floats(node, 2, "biases")
    fields = _linear_weights(converter, node, weights, transposed)
    return "linear", fields | {"bias": None if bias is None else bias.reshape(-1)}


def _matmul(converter: _Converter, node):
    weights = converter.constant(node, 1, "weights")
    return "linear", _linear_weights(converter, node, weights, False)


def _linear_weights(converter: _Converter, node, weights: _Constant, transposed: bool) -> dict:
    values = weights.values.astype(np.float64)
    if values.ndim != 2:
        raise PenstockError(
            f"layer {converter.name(node)}: weights must have two axes, not {values.shape}"
        )
    units = weights.units(converter.name(node), 0 if transposed else 1)
    return {"weights": values if transposed else values.T, "units": units}


def _batch_norm(converter: _Converter, node):
    weight, bias, mean, variance = (
        converter.floats(node, index, "constants of a batch norm") for index in range(1, 5)
    )
    return "batch_norm", {
        "weight": weight,
        "bias": bias,
        "mean": mean,
        "variance": variance,
        "epsilon": converter.attribute(node, "epsilon", 1e-5),
    }


def _add(converter: _Converter, node):
    constants = [converter.constants[name] for name in node.input if name in converter.constants]
    if not constants:
        return "add", {}
    values = constants[0].values.astype(np.float64)
    if sum(size != 1 for size in values.shape) > 1:
        raise PenstockError(
            f"layer {converter.name(node)}: a constant that is added must have one value for each "
            f"channel, not shape {values.shape}"
        )
    return "bias", {"values": values.reshape(-1)}


def _factor(converter: _Converter, node):
    values = converter.constants.get(node.input[1])
    if values is None and node.op_type == "Mul":
        values = converter.constants.get(node.input[0])
    if values is None or values.values.size != 1:
        refuse_operator(converter.name(node), node.op_type)
    factor = float(values.values.item())
    return "scale", {"factor": 1 / factor if node.op_type == "Div" else factor}


def _pool(converter: _Converter, node):
    window = tuple(converter.attribute(node, "kernel_shape", ()))
    if set(converter.attribute(node, "dilations", (1, 1))) != {1}:
        raise PenstockError(f"layer {converter.name(node)}: pooling must have no dilation")
    return "pool", {
        "pooling": "average" if node.op_type == "AveragePool" else "max",
        "window": window,
        "counts_padding": bool(converter.attribute(node, "count_include_pad", 0)),
        "ceil": bool(converter.attribute(node, "ceil_mode", 0)),
        **_window(converter, node, window),
    }


def _global_average(converter: _Converter, node):
    if node.op_type == "ReduceMean":
        axes = converter.floats(node, 1, "axes")
        axes = converter.attribute(node, "axes", ()) if axes is None else axes
        if {int(axis) % 4 for axis in axes} != {2, 3}:
            raise PenstockError(
                f"layer {converter.name(node)}: a mean must be that of the whole map, over height "
                "and width"
            )
    return "pool", {"pooling": "average"}


def _slice(converter: _Converter, node):
    what = "bounds of a slice"
    starts, stops = (converter.required(node, index, what) for index in (1, 2))
    axes = converter.constant(node, 3, what)
    steps = converter.constant(node, 4, what)
    axes = range(len(starts)) if axes is None else axes.values
    steps = np.ones(len(starts), np.int64) if steps is None else steps.values
    rows = zip(axes, starts, stops, steps, strict=True)
    return "slice", {"ranges": {int(row[0]) % 4: tuple(map(int, row[1:])) for row in rows}}


def _pad(converter: _Converter, node):
    mode = converter.attribute(node, "mode", "constant")
    if mode != "constant":
        raise PenstockError(f"layer {converter.name(node)}: padding must be zeros, not {mode!r}")
    pads = [int(each) for each in converter.required(node, 1, "sizes of padding")]
    axes = converter.constant(node, 3, "axes of padding")
    axes = range(4) if axes is None else [int(axis) % 4 for axis in axes.values]
    before, after = [0] * 4, [0] * 4
    for place, axis in enumerate(axes):
        before[axis], after[axis] = pads[place], pads[len(pads) // 2 + place]
    value = converter.constant(node, 2, "the value of padding")
    return "pad", {
        "before": tuple(before),
        "after": tuple(after),
        "value": 0.0 if value is None else float(value.values.item()),
    }


def _flatten(converter: _Converter, node):
    return "flatten", {"shape": converter.shapes.get(node.output[0], ())}


def _same(converter: _Converter, node):
    return "same", {}


def _relu(converter: _Converter, node):
    return "relu", {}


def _check_zero_point(tensor: str, zero: np.ndarray, is_weight: bool):
    if np.any(zero):
        option = (
            "weight_type=QuantType.QInt8"
            if is_weight
            else "activation_type=QuantType.QInt8 and extra_options={'ActivationSymmetric': True}"
        )
        raise PenstockError(
            f"tensor {tensor}: zero point must be 0, not {np.ravel(zero)[np.flatnonzero(zero)[0]]} "
            f"(onnxruntime's quantize_static: {option})"
        )


def _quantize_linear(converter: _Converter, node):
    tensor = node.input[0]
    zero = converter.constant(node, 2, "zero points")
    values = np.zeros((), np.uint8) if zero is None else zero.values
    _check_zero_point(tensor, values, False)
    if values.dtype not in (np.int8, np.uint8):
        raise PenstockError(f"tensor {tensor}: must be int8 or uint8, not {values.dtype.name}")
    bounds = np.iinfo(values.dtype)
    kind, fields = _format(converter, node, int(bounds.min), int(bounds.max))
    converter.quantized[node.output[0]] = fields["format"].scale
    return kind, fields


def _format(converter: _Converter, node, low: int, high: int):
    scale = converter.floats(node, 1, "scales")
    if scale.size != 1 or not scale.item() > 0:
        raise PenstockError(
            f"tensor {node.input[0]}: must have one scale, positive, not {scale.tolist()}"
        )
    return "quantize", {"format": Format(scale=scale.item(), low=low, high=high)}


def _dequantize_linear(converter: _Converter, node):
    tensor = node.input[0]
    if tensor not in converter.constants:
        if tensor == converter.inputs[0].name:
            return _quantize_linear(converter, node)
        scale = converter.floats(node, 1, "scales").reshape(-1).tolist()
        if scale != [converter.quantized.get(tensor)]:
            raise PenstockError(
                f"tensor {tensor}: must come from a QuantizeLinear of the scale that "
                f"DequantizeLinear has, {scale}, not {converter.quantized.get(tensor)}"
            )
        return _same(converter, node)
    integers = converter.constants[tensor].values
    zero = converter.constant(node, 2, "zero points")
    _check_zero_point(tensor, 0 if zero is None else zero.values, True)
    scale = converter.floats(node, 1, "scales").reshape(-1)
    axis = converter.attribute(node, "axis", 1) if len(scale) > 1 else 0
    _keep(converter, node, integers, scale, axis % max(integers.ndim, 1))
    return None


def _keep(converter: _Converter, node, integers: np.ndarray, scale: np.ndarray, axis: int):
    """Remember a constant as integers times its scale."""
    tensor, rank = node.input[0], integers.ndim
    if rank >= 2 and not -128 <= integers.min() <= integers.max() <= 127:
        raise PenstockError(
            f"tensor {tensor}: weights must be int8, not {integers.min()}..{integers.max()}"
        )
    along = [1] * rank
    if rank:
        along[axis] = -1
    values = integers.astype(np.float64) * scale.reshape(along)
    converter.constants[node.output[0]] = _Constant(values, scale, axis)


def _quant(converter: _Converter, node):
    """QONNX: ``Quant(x, scale, zero point, bits)``, with signed and narrow as attributes."""
    tensor = node.input[0]
    is_constant = tensor in converter.constants
    zero = converter.floats(node, 2, "zero points")
    _check_zero_point(tensor, zero, is_constant)
    if is_constant and converter.constants[tensor].values.ndim < 2:  # a bias, of any bits
        scale = converter.floats(node, 1, "scales")
        values = np.rint(converter.constants[tensor].values / scale) * scale
        converter.constants[node.output[0]] = _Constant(values)
        return None
    rounding = converter.attribute(node, "rounding_mode", "ROUND")
    if rounding.upper() != "ROUND":
        raise PenstockError(f"tensor {tensor}: rounding_mode must be ROUND, not {rounding}")
    bits = converter.floats(node, 3, "bits").item()
    signed, narrow = (bool(converter.attribute(node, each, 0)) for each in ("signed", "narrow"))
    if bits not in range(2, 9):
        raise PenstockError(f"tensor {tensor}: must have 2 to 8 bits, not {bits:g}")
    low = -(2 ** (int(bits) - 1)) + narrow if signed else 0
    high = 2 ** (int(bits) - signed) - 1 - (narrow and not signed)
    if not is_constant:
        return _format(converter, node, low, high)
    values = converter.constants[tensor].values.astype(np.float64)
    scale = converter.floats(node, 1, "scales")
    axis = int(np.argmax(scale.shape)) if scale.size > 1 else 0
    integers = np.clip(np.rint(values / scale), low, high)
    _keep(converter, node, integers, scale.reshape(-1), axis)
    return None


_KEPT = ("DequantizeLinear", "Quant", "IntQuant")
"""Operators that give constants their integers and scale, which a number would lose."""
_CONVERT: dict[str, Callable] = {
    "Conv": _convolution,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "Relu": _relu,
    "Add": _add,
    "Mul": _factor,
    "Div": _factor,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global_average,
    "ReduceMean": _global_average,
    "Flatten": _flatten,
    "Reshape": _flatten,
    "Squeeze": _flatten,
    "Slice": _slice,
    "Pad": _pad,
    "Identity": _same,
    "Dropout": _same,
    "QuantizeLinear": _quantize_linear,
    "DequantizeLinear": _dequantize_linear,
    "Quant": _quant,
    "IntQuant": _quant,
}
"""What each operator becomes: (kind, fields) of an Operator, or None for a constant."""
