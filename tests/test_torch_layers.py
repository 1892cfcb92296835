"""The gated convolution in PyTorch, and the integers against the published equations in floats."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from penstock.errors import PenstockError  # noqa: E402
from penstock.gold.convolution import base_mask  # noqa: E402
from penstock.gold.quantize import fold_gate  # noqa: E402
from penstock.gold.runner import run  # noqa: E402
from penstock.gold.torch_layers import (  # noqa: E402
    TARGET_WEIGHT,
    ChannelGatedConv2d,
    Gate,
    target_loss,
)
from penstock.network import INPUT, Convolution, Network, Shape  # noqa: E402


def base_sum(x, weight, groups, stride):
    """``conv(x, W*B)`` on float64 tensors."""
    mask = torch.from_numpy(base_mask(*weight.shape[:2], groups))[:, :, None, None].double()
    return F.conv2d(x, weight * mask, stride=stride, padding=weight.shape[2] // 2)


def published(x, weight, groups, stride, mean, deviation, delta):
    """Equations of Hua et al. on float64 tensors: (y, d); the norm has no affine parameters.

    psum = conv(x, W*B); d = 1[(psum - mean)/deviation > delta]; y = psum + d * conv(x, W*(1-B)).
    """
    psum = base_sum(x, weight, groups, stride)
    decision = (psum - mean[:, None, None]) / deviation[:, None, None] > delta[:, None, None]
    mask = torch.from_numpy(base_mask(*weight.shape[:2], groups))[:, :, None, None].double()
    rest = F.conv2d(x, weight * (1 - mask), stride=stride, padding=weight.shape[2] // 2)
    return psum + decision * rest, decision


@pytest.mark.parametrize("kernel, stride", [(3, 1), (3, 2), (1, 1), (1, 2)])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_integer_model_equals_the_published_equations(groups, signed, kernel, stride):
    """Everything is an integer times a power of two, so that floats are exact and ties are ties."""
    rng = np.random.default_rng([groups, signed, kernel, stride])
    low, high = (-8, 8) if signed else (0, 8)
    x = rng.integers(low, high, (3, 8, 7, 6)).astype(np.int8 if signed else np.uint8)
    weights = rng.integers(-3, 4, (12, 8, kernel, kernel), np.int8)
    scale = 2.0 ** rng.integers(-2, 1, 12)  # real value of one unit, by output channel
    mean = rng.integers(-4, 5, 12) * scale
    deviation = 2.0 ** rng.integers(0, 4, 12) * scale
    real = (
        torch.from_numpy(x).double(),
        torch.from_numpy(weights * scale[:, None, None, None]),
        groups,
        stride,
    )
    psum = base_sum(*real).numpy()
    limit = psum[1, :, 1, 2]  # each channel has a tie here, and wherever that sum comes again
    delta = (limit - mean) / deviation
    expected, decision = published(*real, *map(torch.from_numpy, (mean, deviation, delta)))
    layer = Convolution(
        name="gated",
        source=INPUT,
        weights=weights,
        multipliers=np.ones(12, np.int16),
        bias=np.zeros(12, np.int64),
        shift=1,
        low=-128,
        high=127,
        stride=stride,
        padding=(kernel // 2,) * 4,
        groups=groups,
        thresholds=fold_gate(mean, deviation**2, 0.0, delta, scale, weights),
    )
    shape = Shape(channels=8, height=7, width=6, signed=signed)
    result = run(Network(name="one", input=shape, input_scale=1.0, layers=(layer,)), x)

    sums = expected.numpy() / scale[:, None, None]
    np.testing.assert_array_equal(sums, np.rint(sums))
    halves = np.floor(sums / 2 + 0.5).clip(-128, 127)
    np.testing.assert_array_equal(result.decisions["gated"], decision.numpy())
    np.testing.assert_array_equal(result.tensors["gated"], halves)
    ties = psum == limit[:, None, None]
    assert ties.any(axis=(0, 2, 3)).all()
    assert not result.decisions["gated"][ties].any()
    assert 0.05 < decision.double().mean() < 0.95


def integer_layer(groups=2, stride=1):
    """A layer in evaluation mode whose values are all exact: integers, mean 1, deviation 2."""
    generator = torch.Generator().manual_seed(groups)
    layer = ChannelGatedConv2d(4, 6, 3, groups=groups, stride=stride).double().eval()
    with torch.no_grad():
        layer.weight.copy_(torch.randint(-2, 3, layer.weight.shape, generator=generator))
        if groups > 1:
            layer.norm.eps = 0.0
            layer.norm.running_mean.fill_(1.0)
            layer.norm.running_var.fill_(4.0)
            layer.delta.copy_(torch.randint(-3, 4, (6,), generator=generator) / 2)
    x = torch.randint(0, 4, (5, 4, 6, 5), generator=generator).double()
    return layer, x


@pytest.mark.parametrize("stride", [1, 2])
def test_layer_equals_the_published_equations(stride):
    layer, x = integer_layer(stride=stride)
    with torch.no_grad():
        got = layer(x)
        mean, deviation = torch.ones(6).double(), torch.full((6,), 2.0).double()
        expected, decision = published(x, layer.weight, 2, stride, mean, deviation, layer.delta)
        ties = (layer.partial_sum(x) - 1) / 2 == layer.delta[:, None, None]
    assert ties.any()
    assert torch.equal(got, expected)
    assert float(layer.density) == float(decision.double().mean())


def test_one_group_is_the_dense_convolution():
    layer, x = integer_layer(groups=1)
    assert torch.equal(layer(x), F.conv2d(x, layer.weight, padding=1))
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    assert float(layer.target_loss()) == 0
    assert float(layer.density) == 1


@pytest.mark.parametrize("delta, open_", [(-1e9, True), (1e9, False)])
def test_extreme_thresholds(delta, open_):
    layer, x = integer_layer()
    with torch.no_grad():
        layer.delta.fill_(delta)
        expected = F.conv2d(x, layer.weight, padding=1) if open_ else layer.partial_sum(x)
        assert torch.equal(layer(x), expected)


def test_the_gate_is_shut_at_a_tie():
    margin = torch.tensor([-1.0, -1e-30, -0.0, 0.0, 1e-30, 1.0])
    y, density = Gate.apply(torch.full((6,), 7.0), torch.full((6,), 3.0), margin)
    assert y.tolist() == [3, 3, 3, 3, 7, 7]
    assert float(density) == pytest.approx(1 / 3)


def test_the_gate_goes_backward_as_its_paths_and_the_slope_of_a_sigmoid():
    torch.manual_seed(0)
    margin, total, psum, weight = torch.randn(4, 50, dtype=torch.float64).unbind()
    leaves = [each.clone().requires_grad_() for each in (total, psum, margin)]
    (Gate.apply(*leaves)[0] * weight).sum().backward()
    decision = (margin > 0).double()
    smooth = torch.sigmoid(2 * margin)
    slope = 2 * smooth * (1 - smooth)
    expected = weight * decision, weight * (1 - decision), weight * (total - psum) * slope
    for leaf, gradient in zip(leaves, expected, strict=True):
        torch.testing.assert_close(leaf.grad, gradient, rtol=1e-12, atol=0)


def test_gradients_reach_weights_and_thresholds_through_the_gate():
    torch.manual_seed(0)
    layer = ChannelGatedConv2d(4, 4, 3, groups=2)
    layer(torch.rand(2, 4, 5, 5)).square().sum().backward()
    assert (layer.delta.grad != 0).all()
    assert (layer.weight.grad != 0).all()


def test_norm_has_no_affine_parameters():
    layer = ChannelGatedConv2d(4, 4, 3, groups=2, threshold_target=0.5)
    assert {name for name, _ in layer.named_parameters()} == {"weight", "delta"}
    assert layer.delta.tolist() == [0.5] * 4


def test_target_loss_sums_over_channels_and_layers():
    first = ChannelGatedConv2d(2, 2, 1, groups=2, threshold_target=1.0)
    second = ChannelGatedConv2d(2, 2, 1, groups=2, threshold_target=-1.0)
    with torch.no_grad():
        first.delta.copy_(torch.tensor([2.0, 4.0]))  # off by 1 and 3
    model = torch.nn.Sequential(first, second, ChannelGatedConv2d(2, 2, 1))
    assert TARGET_WEIGHT == 1e-4
    loss = target_loss(model)
    assert float(loss.detach()) == pytest.approx(10 * 1e-4, rel=1e-6)
    loss.backward()
    assert first.delta.grad.tolist() == pytest.approx([2e-4, 6e-4], rel=1e-6)


def test_groups_must_divide_the_channels():
    with pytest.raises(PenstockError) as caught:
        ChannelGatedConv2d(4, 6, 3, groups=4)
    assert str(caught.value) == "groups must divide 4 input and 6 output channels, not 4"
