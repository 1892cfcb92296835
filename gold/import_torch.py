"""PyTorch networks become integer networks: any module of the supported layers, and Penstock's."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from penstock.errors import PenstockError
from penstock.gold.checkpoint import check_finite
from penstock.gold.float_network import (
    FloatGate,
    FloatNetwork,
)
from penstock.gold.models import GatedNetwork
from penstock.gold.operators import Graph, Operator, refuse_operator
from penstock.gold.quantize import INPUT_SCALE, calibrate, quantize
from penstock.gold.recognize import recognize
from penstock.gold.torch_layers import ChannelGatedConv2d
from penstock.images import check_calibration
from penstock.network import Network, Shape


def import_module(
    model: nn.Module,
    images: np.ndarray,
    *,
    name: str = "network",
    input_scale: float = INPUT_SCALE,
) -> Network:
    """The integer network of a trained module, as it computes in evaluation mode.

    images (N, C, H, W) uint8 calibrate it: the largest value of each tensor sets its scale.
    input_scale is the real value of one of their levels, as the module sees them. Convolutions
    that are a ChannelGatedConv2d stay gated, all others are dense. Raises PenstockError naming
    the layer, its rule and what came for what the hardware does not compute; the tensor where a
    weight is not finite.
    """
    check_calibration(images)
    network = float_network(model, images.shape[1:], name=name, input_scale=input_scale)
    return calibrate(network, images)


def import_gated_network(model: GatedNetwork, images: np.ndarray) -> Network:
    """The integer network of one of Penstock's own models, its layers named as in its spec.

    images (N, C, H, W) uint8 calibrate it, in PyTorch. Raises PenstockError as import_module does.
    """
    spec = model.spec
    shape = spec.input_channels, spec.input_size, spec.input_size
    network = float_network(model, shape, name=spec.name, input_scale=INPUT_SCALE)
    return quantize(_named_as_in_spec(network), _largest_values(model, images))


def _named_as_in_spec(network: FloatNetwork) -> FloatNetwork:
    def named(layer):
        names = {
            field: getattr(layer, field).removeprefix("convolutions.")
            for field in ("name", "source", "residual")
            if getattr(layer, field, None) is not None
        }
        return dataclasses.replace(layer, **names)

    return dataclasses.replace(network, layers=tuple(named(layer) for layer in network.layers))


@torch.no_grad()
def _largest_values(model: GatedNetwork, images: np.ndarray) -> dict[str, float]:
    tensors = model.eval().tensors(torch.from_numpy(images).float() * INPUT_SCALE)
    return {name: float(tensor.abs().max()) for name, tensor in tensors.items()}


def float_network(
    model: nn.Module, shape: tuple[int, int, int], *, name: str, input_scale: float
) -> FloatNetwork:
    """What a module computes for images of a shape (C, H, W), as a float network.

    Raises PenstockError naming the layer for what the hardware does not compute, and the tensor
    where a weight is not finite.
    """
    check_finite(model)
    channels, height, width = shape
    return recognize(
        _graph(model, shape),
        name=name,
        input=Shape(channels=channels, height=height, width=width, signed=False),
        input_scale=input_scale,
    )


def _graph(model: nn.Module, shape: tuple[int, int, int]) -> Graph:
    """The operators of a module, gated convolutions as dense ones that have a gate."""
    gates = {}
    dense = copy.deepcopy(model).cpu().float().eval()
    for name, module in dense.named_modules():
        if isinstance(module, ChannelGatedConv2d) and module.groups > 1:
            gates[f"{name}.weight".removeprefix(".")] = _gate(module)
            module.groups = 1
    try:
        program = torch.export.export(dense, (torch.zeros(2, *shape),), strict=False)
    except Exception as error:  # whatever the user's code raises
        first = str(error).strip().partition("\n")[0]
        raise PenstockError(
            f"module {type(model).__name__}: must be one that torch.export takes, for images of "
            f"{'x'.join(map(str, shape))} ({type(error).__name__}: {first})"
        ) from error
    return _Converter(program, gates).run()


def _gate(module: ChannelGatedConv2d) -> FloatGate:
    return FloatGate(
        groups=module.groups,
        mean=_double(module.norm.running_mean),
        variance=_double(module.norm.running_var),
        epsilon=module.norm.eps,
        delta=_double(module.delta),
    )


def _double(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


class _Converter:
    """Turns an exported program into operators; what constants alone decide is computed."""

    def __init__(self, program: torch.export.ExportedProgram, gates: dict[str, FloatGate]):
        self.gates = gates
        self.nodes = list(program.graph.nodes)
        signature = program.graph_signature
        self.parameters = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        tensors = {**program.constants, **program.state_dict}
        self.constants = {node: tensors[name].cpu() for node, name in self.parameters.items()}
        self.inputs = signature.user_inputs
        self.outputs = signature.user_outputs
        self.operators: list[Operator] = []
        self.gated: set[str | None] = set()  # weights of convolutions

    @torch.no_grad()
    def run(self) -> Graph:
        if len(self.inputs) != 1 or len(self.outputs) != 1:
            raise PenstockError(
                "module: must take one tensor and return one, not "
                f"{len(self.inputs)} and {len(self.outputs)}"
            )
        for node in self.nodes:
            if node.op == "call_function":
                self._call(node)
        for parameter in self.gates.keys() - self.gated:
            raise PenstockError(f"weights {parameter}: a gated convolution must be run, and is not")
        return Graph(operators=tuple(self.operators), input=self.inputs[0], output=self.outputs[0])

    def _call(self, node: torch.fx.Node):
        reads = [each.name for each in node.all_input_nodes]
        if all(name in self.constants for name in reads):
            self.constants[node.name] = node.target(
                *torch.fx.map_arg(node.args, lambda each: self.constants[each.name]),
                **torch.fx.map_arg(node.kwargs, lambda each: self.constants[each.name]),
            )
            return
        convert = _CONVERT.get(str(node.target))
        if convert is None:
            refuse_operator(_place(node), str(node.target))
        kind, fields = convert(self, node, _arguments(node))
        inputs = [name for name in reads if name not in self.constants]
        if kind == "add" and len(inputs) == 1:
            inputs *= 2
        self.operators.append(
            Operator(
                kind=kind,
                name=self.name(node, kind),
                inputs=tuple(inputs),
                output=node.name,
                fields=fields,
            )
        )

    def name(self, node: torch.fx.Node, kind: str) -> str:
        """A layer's name: the module whose weights it has, or its place."""
        if kind in ("convolution", "linear"):
            parameter = self.parameters.get(node.args[1].name, "")
            if parameter.endswith(".weight"):
                return parameter.removesuffix(".weight")
        return _place(node, kind)

    def gate(self, weights: torch.fx.Node) -> FloatGate | None:
        """The gate of a convolution with these weights."""
        parameter = self.parameters.get(weights.name)
        self.gated.add(parameter)
        return self.gates.get(parameter)

    def constant(self, node: torch.fx.Node | None, name: str, what: str) -> np.ndarray | None:
        """An argument of layer ``name`` that must be constant, as float64; None where it is."""
        if node is None:
            return None
        if node.name not in self.constants:
            raise PenstockError(f"layer {name}: {what} must be constants, not computed")
        return _double(self.constants[node.name])


def _place(node: torch.fx.Node, kind: str | None = None) -> str:
    """Where a node is: the path of its submodule, and what it does where that has more nodes."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, module = stack[-1] if stack else ("", "")
    alone = path and str(module).startswith("torch.nn.modules")
    return path if alone else ".".join(filter(None, (path, kind or node.name)))


def _arguments(node: torch.fx.Node) -> dict[str, Any]:
    """The arguments of a call by name, defaults included."""
    schema = node.target._schema.arguments
    values = {each.name: each.default_value for each in schema if each.has_default_value()}
    values |= dict(zip((each.name for each in schema), node.args, strict=False))
    return values | node.kwargs


def _pair(value) -> tuple[int, int]:
    values = [value] if isinstance(value, int) else list(value)
    return tuple(values * 2 if len(values) == 1 else values)


def _sides(value) -> tuple[int, int, int, int]:
    return _pair(value) * 2


def _convolution(converter: _Converter, node, arguments):
    name = converter.name(node, "convolution")
    weights = converter.constant(arguments["weight"], name, "weights")
    dilation, padding = _pair(arguments["dilation"]), arguments["padding"]
    if isinstance(padding, str):
        padding = _named_padding(padding, weights.shape[2:], dilation)
    else:
        padding = _sides(padding)
    return "convolution", {
        "weights": weights,
        "bias": converter.constant(arguments["bias"], name, "biases"),
        "stride": _pair(arguments["stride"]),
        "padding": padding,
        "dilation": dilation,
        "groups": arguments["groups"],
        "gate": converter.gate(node.args[1]),
    }


def _named_padding(padding: str, kernel, dilation) -> tuple[int, int, int, int]:
    """Of "same" and "valid": top, left, bottom, right; an odd pixel is at the bottom or right."""
    if padding == "valid":
        return 0, 0, 0, 0
    total = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
    before = [each // 2 for each in total]
    return *before, *(each - first for each, first in zip(total, before, strict=True))


def _linear(converter: _Converter, node, arguments):
    name = converter.name(node, "linear")
    return "linear", {
        "weights": converter.constant(arguments["weight"], name, "weights"),
        "bias": converter.constant(arguments["bias"], name, "biases"),
    }


def _batch_norm(converter: _Converter, node, arguments):
    mean = converter.constant(arguments["running_mean"], _place(node), "statistics")
    if mean is None or arguments.get("training"):
        raise PenstockError(f"layer {_place(node)}: batch norm must keep running statistics")
    weight = converter.constant(arguments["weight"], _place(node), "weights")
    bias = converter.constant(arguments["bias"], _place(node), "biases")
    return "batch_norm", {
        "weight": np.ones_like(mean) if weight is None else weight,
        "bias": np.zeros_like(mean) if bias is None else bias,
        "mean": mean,
        "variance": converter.constant(arguments["running_var"], _place(node), "statistics"),
        "epsilon": arguments["eps"],
    }


def _add(converter: _Converter, node, arguments):
    if arguments["alpha"] != 1:
        raise PenstockError(
            f"layer {_place(node)}: an addition's alpha must be 1, not {arguments['alpha']}"
        )
    operands = (arguments["self"], arguments["other"])
    for operand in operands:
        if not isinstance(operand, torch.fx.Node):
            raise PenstockError(
                f"layer {_place(node)}: only tensors can be added, not the number {operand:g}"
            )
        if operand.name in converter.constants:
            values = _double(converter.constants[operand.name])
            return "bias", {"values": _per_channel(values, node)}
    return "add", {}


def _per_channel(values: np.ndarray, node: torch.fx.Node) -> np.ndarray:
    channels = node.meta["val"].shape[1]
    axis = node.meta["val"].dim() - values.ndim
    if values.size == channels and values.ndim and values.shape[1 - axis] == channels:
        return values.reshape(-1)
    raise PenstockError(
        f"layer {_place(node)}: a constant that is added must have one value for each of the "
        f"{channels} channels, not shape {values.shape}"
    )


def _factor(converter: _Converter, node, arguments):
    other = arguments["other"]
    if isinstance(other, torch.fx.Node):
        constant = converter.constants.get(other.name)
        if constant is None or constant.numel() != 1:
            refuse_operator(_place(node), str(node.target))
        other = float(constant)
    return "scale", {"factor": 1 / other if "div" in str(node.target) else other}


def _pool(converter: _Converter, node, arguments):
    average = "avg" in str(node.target)
    if arguments.get("divisor_override") is not None or set(
        _pair(arguments.get("dilation", 1))
    ) != {1}:
        raise PenstockError(
            f"layer {_place(node)}: pooling must have no dilation and no divisor of its own"
        )
    window = _pair(arguments["kernel_size"])
    return "pool", {
        "pooling": "average" if average else "max",
        "window": window,
        "stride": _pair(arguments["stride"]) if arguments["stride"] else window,
        "padding": _sides(arguments["padding"]),
        "counts_padding": arguments.get("count_include_pad", True),
        "ceil": arguments["ceil_mode"],
    }


def _global_average(converter: _Converter, node, arguments):
    if "adaptive" in str(node.target):
        whole = set(arguments["output_size"]) == {1}
    else:
        rank = arguments["self"].meta["val"].dim()
        whole = rank == 4 and {axis % rank for axis in arguments["dim"] or ()} == {2, 3}
    if not whole:
        raise PenstockError(
            f"layer {_place(node)}: a mean must be that of the whole map, over height and width"
        )
    return "pool", {"pooling": "average"}


def _flatten(converter: _Converter, node, arguments):
    before, after = (each.meta["val"].shape for each in (arguments["self"], node))
    if before == after:
        return "same", {}
    return "flatten", {"shape": tuple(after)}


def _slice(converter: _Converter, node, arguments):
    source = arguments["self"].meta["val"]
    axis = arguments["dim"] % source.dim()
    stop = source.shape[axis] if arguments["end"] is None else arguments["end"]
    return "slice", {"ranges": {axis: (arguments["start"] or 0, stop, arguments["step"])}}


def _pad(converter: _Converter, node, arguments):
    if arguments.get("mode", "constant") != "constant":
        raise PenstockError(
            f"layer {_place(node)}: padding must be zeros, not {arguments['mode']!r}"
        )
    pads = list(arguments["pad"])
    pads += [0] * (2 * arguments["self"].meta["val"].dim() - len(pads))
    return "pad", {
        "before": tuple(pads[-2::-2]),
        "after": tuple(pads[-1::-2]),
        "value": arguments.get("value") or 0.0,
    }


def _kind(kind: str) -> Callable:
    return lambda converter, node, arguments: (kind, {})


_CONVERT: dict[str, Callable] = {
    "aten.conv2d.default": _convolution,
    "aten.conv2d.padding": _convolution,
    "aten.linear.default": _linear,
    "aten.batch_norm.default": _batch_norm,
    "aten.relu.default": _kind("relu"),
    "aten.relu_.default": _kind("relu"),
    "aten.add.Tensor": _add,
    "aten.add_.Tensor": _add,
    "aten.mul.Tensor": _factor,
    "aten.div.Tensor": _factor,
    "aten.max_pool2d.default": _pool,
    "aten.avg_pool2d.default": _pool,
    "aten.adaptive_avg_pool2d.default": _global_average,
    "aten.mean.dim": _global_average,
    "aten.flatten.using_ints": _flatten,
    "aten.view.default": _flatten,
    "aten.reshape.default": _flatten,
    "aten.squeeze.default": _flatten,
    "aten.squeeze.dim": _flatten,
    "aten.squeeze.dims": _flatten,
    "aten.slice.Tensor": _slice,
    "aten.pad.default": _pad,
    "aten.constant_pad_nd.default": _pad,
    "aten.dropout.default": _kind("same"),
    "aten.dropout_.default": _kind("same"),
    "aten.feature_dropout.default": _kind("same"),
    "aten.contiguous.default": _kind("same"),
    "aten.clone.default": _kind("same"),
    "aten.alias.default": _kind("same"),
}
"""What each operator of an exported program becomes: (kind, fields) of an Operator."""
