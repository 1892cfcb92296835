"""Which channels of a dense network go into which group, before its gates are trained."""

from collections.abc import Iterator

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from penstock.gold.models import GatedNetwork, LayerSpec
from penstock.gold.quantize import INPUT_SCALE

IMAGES = 256
"""Training images, the first ones, whose maps weigh the inputs."""


@torch.no_grad()
def regroup(model: GatedNetwork, dense: GatedNetwork, images: np.ndarray):
    """Reorder channels so that base paths see the inputs that count most, in place.

    ``dense`` has the weights of ``model`` and no gates; images (N, C, H, W) uint8. What the network
    computes with all gates open stays the same. Only maps between two layers that nothing else
    reads are reordered, so shortcuts keep their channels. Of input i, output o has the share

        e[o, i] = sum over taps (w[o, i]^2) * mean(x_i^2), divided by its sum over i

    and a base path sees the shares of its own group alone. A channel between two layers counts as
    an output of the first and as an input of the second one; groups take as many channels each, and
    the assignment with the largest sum of base shares is found exactly (Kuhn, 1955).
    """
    inputs = torch.from_numpy(images[:IMAGES]).float() * INPUT_SCALE
    tensors = dense.eval().tensors(inputs.to(next(dense.parameters()).device))
    for before, behind in _between(model.spec.layers):
        groups = max(before.groups, behind.groups)
        if groups == 1:
            continue
        gain = torch.zeros(before.channels, groups)
        if before.groups > 1:  # (outputs, groups)
            gain += _shares(model, before, tensors).unflatten(1, (groups, -1)).sum(2)
        if behind.groups > 1:  # (groups, inputs)
            gain += _shares(model, behind, tensors).unflatten(0, (groups, -1)).sum(1).T
        _reorder(model, before.name, behind.name, _order(gain))


def _between(layers: tuple[LayerSpec, ...]) -> Iterator[tuple[LayerSpec, LayerSpec]]:
    """Pairs of layers: the second reads the first, and nothing else does."""
    for before in layers[:-1]:
        readers = [layer for layer in layers if before.name in (layer.source, layer.residual)]
        if len(readers) == 1 and readers[0].source == before.name and before.residual is None:
            yield before, readers[0]


def _shares(model: GatedNetwork, layer: LayerSpec, tensors: dict) -> torch.Tensor:
    """e of a layer, (outputs, inputs)."""
    weight = model.convolutions[layer.name].weight
    source = tensors[layer.source].square().mean(dim=(0, 2, 3))
    energy = weight.square().sum(dim=(2, 3)) * source
    return (energy / energy.sum(dim=1, keepdim=True).clamp(min=1e-12)).cpu()


def _order(gain: torch.Tensor) -> torch.Tensor:
    """gain (channels, groups): the channels group by group, each group's in their old order."""
    channels, groups = gain.shape
    places = gain.repeat_interleave(channels // groups, dim=1)
    _, place = linear_sum_assignment(places.numpy(), maximize=True)
    return torch.from_numpy(np.argsort(place // (channels // groups), kind="stable"))


def _reorder(model: GatedNetwork, before: str, behind: str, order: torch.Tensor):
    for module in (model.convolutions[before], model.norms[before]):
        for tensor in module.state_dict().values():
            if tensor.ndim:  # per output channel; a norm's count of batches is not
                tensor.copy_(tensor[order])
    weight = model.convolutions[behind].weight
    weight.copy_(weight[:, order])
