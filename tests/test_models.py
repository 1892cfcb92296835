"""The float networks: what each layer's specification says is what it computes."""

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from penstock.gold.models import GatedNetwork, digits_spec  # noqa: E402


@pytest.fixture(scope="module")
def digits():
    """(model, its tensors for five random images)."""
    torch.manual_seed(0)
    model = GatedNetwork(digits_spec(), 0.75).eval()
    with torch.no_grad():
        return model, model.tensors(torch.rand(5, 1, 16, 16))


def normed(digits, name, source):
    """norm(conv(source)) of one layer."""
    model, tensors = digits
    with torch.no_grad():
        return model.norms[name](model.convolutions[name](tensors[source]))


def test_shapes(digits):
    _, tensors = digits
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in tensors.items()}
    assert shapes == {
        "input": (1, 16, 16),
        "stem": (16, 16, 16),
        "block1_conv1": (16, 16, 16),
        "block1_conv2": (16, 16, 16),
        "block2_conv1": (32, 8, 8),
        "block2_conv2": (32, 8, 8),
        "block3_conv1": (64, 4, 4),
        "block3_shortcut": (64, 4, 4),
        "block3_conv2": (64, 4, 4),
        "pool": (64, 1, 1),
        "classifier": (10,),
    }


def test_plain_layers_end_in_a_relu(digits):
    _, tensors = digits
    assert torch.equal(tensors["stem"], F.relu(normed(digits, "stem", "input")))
    assert torch.equal(
        tensors["block3_conv1"], F.relu(normed(digits, "block3_conv1", "block2_conv2"))
    )


def test_the_shortcut_convolution_stays_signed(digits):
    _, tensors = digits
    expected = normed(digits, "block3_shortcut", "block2_conv2")
    assert (expected < 0).any()
    assert torch.equal(tensors["block3_shortcut"], expected)


@pytest.mark.parametrize("block, shortcut", [("block1", "stem"), ("block3", "block3_shortcut")])
def test_a_residual_is_added_before_the_relu(digits, block, shortcut):
    _, tensors = digits
    own = normed(digits, f"{block}_conv2", f"{block}_conv1")
    assert torch.equal(tensors[f"{block}_conv2"], F.relu(own + tensors[shortcut]))
    assert (own < 0).any()


def test_option_a_is_added_behind_the_relu(digits):
    _, tensors = digits
    own = F.relu(normed(digits, "block2_conv2", "block2_conv1"))
    own[:, 8:24] += tensors["block1_conv2"][:, :, ::2, ::2]
    assert torch.equal(tensors["block2_conv2"], own)


def test_pool_and_classifier(digits):
    model, tensors = digits
    pooled = tensors["block3_conv2"].mean(dim=(2, 3))
    assert torch.equal(tensors["pool"].flatten(1), pooled)
    with torch.no_grad():
        assert torch.equal(tensors["classifier"], model.classifier(pooled))
        assert torch.equal(model(tensors["input"]), tensors["classifier"])


def test_only_the_residual_blocks_are_gated(digits):
    model, _ = digits
    gated = [name for name, module in model.convolutions.items() if module.groups > 1]
    assert gated == [f"block{block}_conv{conv}" for block in (1, 2, 3) for conv in (1, 2)]
    for name in gated:
        assert model.convolutions[name].delta.tolist() == [0.75] * len(
            model.convolutions[name].delta
        )
