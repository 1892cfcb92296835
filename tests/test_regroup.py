"""Channels change groups: the same dense network, whose base paths see more of it."""

import copy

import numpy as np
import torch

from penstock.gold.models import GatedNetwork, resnet_spec
from penstock.gold.quantize import INPUT_SCALE
from penstock.gold.regroup import _shares, regroup

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), dtype=np.uint8)
INPUTS = torch.from_numpy(IMAGES).float() * INPUT_SCALE


def networks(gated: str) -> tuple[GatedNetwork, GatedNetwork]:
    """(gated, dense) with the same random weights; no two channels' norms are alike."""
    torch.manual_seed(0)
    model = GatedNetwork(resnet_spec(8, gated=gated), 0.0)
    for norm in model.norms.values():
        norm.weight.data.uniform_(0.2, 2.0)
        norm.bias.data.uniform_(-1.0, 1.0)
        norm.running_mean.uniform_(-1.0, 1.0)
        norm.running_var.uniform_(0.5, 2.0)
    dense = GatedNetwork(resnet_spec(8, gated="none"), 0.0)
    kept = dense.state_dict().keys()
    dense.load_state_dict({k: v for k, v in model.state_dict().items() if k in kept})
    return model.eval(), dense.eval()


def base_share(model: GatedNetwork, dense: GatedNetwork) -> float:
    """What base paths see of their outputs' energy, mean over gated layers."""
    tensors = dense.tensors(INPUTS)
    shares = []
    for layer in model.spec.layers:
        if layer.groups > 1:
            share = _shares(model, layer, tensors).unflatten(0, (4, -1)).unflatten(2, (4, -1))
            shares.append(torch.stack([share[g, :, g].sum(1).mean() for g in range(4)]).mean())
    return float(torch.stack(shares).mean())


def open_gates(model: GatedNetwork):
    for module in model.gates.values():
        module.delta.data.fill_(-1e9)


@torch.no_grad()
def test_with_gates_open_nothing_changes():
    for gated in ("conv1", "both"):
        model, dense = networks(gated)
        before = copy.deepcopy(model.state_dict())
        open_gates(model)
        regroup(model, dense, IMAGES)
        moved = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
        assert any("conv2.weight" in name for name in moved)
        assert not any("stem" in name or "classifier" in name for name in moved)
        torch.testing.assert_close(model(INPUTS), dense(INPUTS), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_base_paths_see_more():
    model, dense = networks("both")
    before = base_share(model, dense)
    regroup(model, dense, IMAGES)
    permuted = copy.deepcopy(dense)  # dense, with the channels in their new order
    kept = permuted.state_dict().keys()
    permuted.load_state_dict({k: v for k, v in model.state_dict().items() if k in kept})
    after = base_share(model, permuted)
    assert 0.2 < before < 0.3
    assert after > before + 0.02
