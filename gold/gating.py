"""Turns a dense PyTorch network into a channel-gated one, for the user's own training loop."""

from collections.abc import Iterable

import torch
from torch import nn

from penstock.errors import PenstockError
from penstock.gold.torch_layers import ChannelGatedConv2d


def gate(
    model: nn.Module,
    groups: int = 4,
    *,
    threshold_target: float = 0.0,
    layers: Iterable[str] | None = None,
) -> list[str]:
    """Replace dense convolutions of a module by gated ones of the same weights, in place.

    ``layers`` names them by their path (``"layer1.0.conv1"``); without, every 3x3 convolution that
    can be gated is: no bias, padding 1, channels that groups divides. Returns their names. The
    network then has to be trained on, with ``torch_layers.target_loss(model)`` added to its loss:
    thresholds begin at and are drawn to threshold_target, in standard deviations of the partial
    sum. Raises PenstockError naming the layer that cannot be gated, and where there is none.
    """
    modules = dict(model.named_modules())
    if layers is None:
        chosen = [name for name, module in modules.items() if not _obstacle(module, groups)]
    else:
        chosen = list(layers)
        for name in chosen:
            obstacle = _obstacle(modules.get(name), groups)
            if obstacle:
                raise PenstockError(f"layer {name}: {obstacle}")
    if not chosen:
        raise PenstockError(
            f"module {type(model).__name__}: must have a 3x3 convolution without bias whose "
            f"channels {groups} groups divide, has none"
        )
    for name in chosen:
        path, _, attribute = name.rpartition(".")
        setattr(
            model.get_submodule(path), attribute, _gated(modules[name], groups, threshold_target)
        )
    return chosen


def _obstacle(module: nn.Module | None, groups: int) -> str | None:
    """The rule that keeps a module from being gated, and what came; None where it can be."""
    if module is None:
        return "must be a Conv2d to be gated, there is none of that name"
    if type(module) is not nn.Conv2d:
        return f"must be a Conv2d to be gated, not {type(module).__name__}"
    for rule, came, allowed in (
        ("kernel must be 3x3", module.kernel_size, ((3, 3),)),
        ("padding must be 1", module.padding, ((1, 1), "same")),
        ("stride must be 1 or 2", module.stride, ((1, 1), (2, 2))),
        ("dilation must be 1", module.dilation, ((1, 1),)),
        ("groups must be 1 before it is gated", module.groups, (1,)),
        ("padding must be of zeros", module.padding_mode, ("zeros",)),
    ):
        if came not in allowed:
            return f"{rule}, not {came}"
    if module.bias is not None:
        return "must have no bias to be gated, but a batch norm behind it"
    if groups < 2 or module.in_channels % groups or module.out_channels % groups:
        return (
            f"groups must be 2 or more and divide {module.in_channels} input and "
            f"{module.out_channels} output channels, not {groups}"
        )
    return None


@torch.no_grad()
def _gated(dense: nn.Conv2d, groups: int, threshold_target: float) -> ChannelGatedConv2d:
    gated = ChannelGatedConv2d(
        dense.in_channels,
        dense.out_channels,
        dense.kernel_size[0],
        stride=dense.stride[0],
        groups=groups,
        threshold_target=threshold_target,
    ).to(dense.weight)
    gated.weight.copy_(dense.weight)
    return gated.train(dense.training)
