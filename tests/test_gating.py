"""A dense module becomes a gated one, is trained by a loop of the user's, and imported."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import import_cases as cases  # noqa: E402
from torch import nn  # noqa: E402

from penstock.errors import PenstockError  # noqa: E402
from penstock.gold.digits import load_digits_images  # noqa: E402
from penstock.gold.gating import gate  # noqa: E402
from penstock.gold.import_torch import import_module  # noqa: E402
from penstock.gold.runner import run  # noqa: E402
from penstock.gold.torch_layers import ChannelGatedConv2d  # noqa: E402

BLOCKS = [
    f"{block}.conv{part}" for block in ("layer1.0", "layer1.1", "layer2.0") for part in (1, 2)
]


def test_every_convolution_that_can_be_is_gated():
    """Not the stem, whose one channel no groups divide, nor the 1x1 shortcut."""
    model = cases.made(lambda: cases.ResNet(1))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    assert gate(model, groups=4, threshold_target=0.5) == BLOCKS
    gated = {
        name for name, module in model.named_modules() if isinstance(module, ChannelGatedConv2d)
    }
    assert gated == set(BLOCKS)
    for name, value in weights.items():
        assert torch.equal(model.state_dict()[name], value), name
    for name in BLOCKS:
        module = model.get_submodule(name)
        assert (module.groups, module.training) == (4, False)
        assert (module.delta == 0.5).all()


def test_with_open_gates_it_computes_what_it_did():
    model = cases.made(lambda: cases.ResNet(1)).double()
    x = torch.rand(3, 1, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        dense = model(x)
        gate(model, groups=2, threshold_target=-1e9)
        opened = model(x)
        gate_count = sum(isinstance(module, ChannelGatedConv2d) for module in model.modules())
    assert gate_count == 6
    assert torch.allclose(dense, opened, rtol=1e-12, atol=1e-12)


def test_layers_are_chosen_by_name():
    model = cases.made(lambda: cases.ResNet(1))
    assert gate(model, 2, layers=["layer2.0.conv1"]) == ["layer2.0.conv1"]
    assert isinstance(model.layer2[0].conv1, ChannelGatedConv2d)
    assert model.layer2[0].conv1.stride == 2
    assert type(model.layer2[0].conv2) is nn.Conv2d


def test_a_gated_module_is_trained_and_imported(one_thread):
    """Some steps of training move the thresholds; the integers are gated, and decide both ways."""
    model = cases.made(lambda: cases.ResNet(1)).train()
    gate(model, groups=4)
    images, labels = load_digits_images("train")
    x = torch.from_numpy(images[:64]).float() / 255
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for _ in range(25):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), torch.from_numpy(labels[:64])).backward()
        optimizer.step()
    assert not (model.layer1[0].conv2.delta == 0).all()
    network = import_module(model, images[:64])
    result = run(network, images[:64])
    assert list(result.decisions) == BLOCKS
    for name, decision in result.decisions.items():
        assert 0 < decision.mean() < 1, name
    assert result.mac_reduction > 1.2
    gates = {layer.name: layer for layer in network.layers}
    assert all(gates[name].groups == 4 for name in BLOCKS)
    assert gates["layer2.0.shortcut.0"].thresholds is None
    assert not np.array_equal(run(network, images[:64], gating=False).output, result.output)


@pytest.mark.parametrize(
    "module, groups, text",
    [
        (nn.Linear(4, 4), 4, "layer 0: must be a Conv2d to be gated, not Linear"),
        (nn.Conv2d(4, 4, 1), 4, "layer 0: kernel must be 3x3, not (1, 1)"),
        (nn.Conv2d(4, 4, 3), 4, "layer 0: padding must be 1, not (0, 0)"),
        (
            nn.Conv2d(4, 4, 3, padding=1),
            4,
            "layer 0: must have no bias to be gated, but a batch norm behind it",
        ),
        (
            nn.Conv2d(6, 4, 3, padding=1, bias=False),
            4,
            "layer 0: groups must be 2 or more and divide 6 input and 4 output channels, not 4",
        ),
        (
            nn.Conv2d(4, 4, 3, padding=1, bias=False),
            1,
            "layer 0: groups must be 2 or more and divide 4 input and 4 output channels, not 1",
        ),
        (
            nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False),
            2,
            "layer 0: groups must be 1 before it is gated, not 2",
        ),
    ],
)
def test_what_cannot_be_gated_is_refused(module, groups, text):
    model = nn.Sequential(module)
    with pytest.raises(PenstockError) as caught:
        gate(model, groups, layers=["0"])
    assert str(caught.value) == text
    assert model[0] is module
    with pytest.raises(PenstockError) as caught:
        gate(model, groups)
    assert str(caught.value) == (
        "module Sequential: must have a 3x3 convolution without bias whose channels "
        f"{groups} groups divide, has none"
    )


def test_a_name_that_is_none_is_refused():
    model = cases.made(lambda: cases.ResNet(1))
    with pytest.raises(PenstockError) as caught:
        gate(model, layers=["layer1.0.conv1", "layer9"])
    assert (
        str(caught.value)
        == "layer layer9: must be a Conv2d to be gated, there is none of that name"
    )
    assert type(model.layer1[0].conv1) is nn.Conv2d
