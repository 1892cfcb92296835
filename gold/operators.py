"""A user's network as a list of operators, whatever it came from, and how others are refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from penstock.errors import PenstockError


@dataclass(frozen=True, kw_only=True, eq=False)
class Operator:
    """One step of a network: ``output = kind(*inputs)``. The kinds and their fields:

    - convolution: weights (O, I, kh, kw) float64; units (O,) where the weights are integers times
      these; bias (O,); stride and dilation (height, width); padding top, left, bottom, right;
      groups; gate, a FloatGate
    - linear: weights (O, I) float64; units and bias as above
    - batch_norm: weight, bias, mean, variance (C,) float64; epsilon
    - bias: values (C,) float64 that are added
    - scale: factor, a number that everything is multiplied with
    - relu, add, same (the tensor as it is)
    - flatten: shape of what comes out
    - pool: pooling "average" or "max"; window (None: the whole map), stride, padding as above;
      counts_padding, of an average; ceil, whether a last partial window counts
    - slice: ranges, (start, stop, step) by axis; stop may lie behind the end
    - pad: before and after, pixels of each of the four axes; value
    - quantize: format, a Format
    """

    kind: str
    name: str  # what layers and refusals are called: its place in the network
    inputs: tuple[str, ...]
    output: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """Operators in the order of execution, the image's tensor and the result's."""

    operators: tuple[Operator, ...]
    input: str
    output: str


SUPPORTED = (
    "convolution, batch norm, ReLU, addition, max and average pooling, flatten, linear, and as "
    "shortcuts slices and zero padding"
)
_INSTEAD = (
    (("transpose2d", "convtranspose"), "the hardware has no upsampling"),
    (("upsample", "interpolate", "resize"), "the hardware has no upsampling"),
    (
        ("gelu", "silu", "sigmoid", "tanh", "elu", "hardswish", "hardtanh", "clip", "prelu"),
        "the hardware's only activation is ReLU",
    ),
    (("softmax",), "leave it out: it does not change which class is the largest"),
    (
        ("qlinear", "convinteger", "matmulinteger"),
        "write the model with QuantizeLinear and DequantizeLinear: quant_format=QuantFormat.QDQ",
    ),
    (
        ("layer_norm", "layernorm", "group_norm", "instance", "groupnorm"),
        "of norms only batch norm becomes constants",
    ),
    (("cat.", "concat"), "the hardware's only joining of maps is addition"),
    (
        ("sub.",),
        "padding must be the image's 0, so train without a mean; gates come from PyTorch only",
    ),
)
"""Parts of operators' names, and what is needed in their place."""


def refuse_operator(name: str, operator: str) -> NoReturn:
    """Raise PenstockError for an operator that no layer of the hardware computes.

    name is its place in the network; what is needed is told where it is known.
    """
    lowered = f"{operator.lower()}."
    needed = [text for parts, text in _INSTEAD if any(part in lowered for part in parts)]
    hint = f" ({needed[0]})" if needed else ""
    raise PenstockError(f"layer {name}: operator must be one of {SUPPORTED}, not {operator}{hint}")
