"""Quantization: folded batch norms and gates against exact and float references."""

import copy
import decimal

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from penstock.errors import PenstockError  # noqa: E402
from penstock.gold.import_torch import import_gated_network  # noqa: E402
from penstock.gold.models import GatedNetwork, LayerSpec, ModelSpec  # noqa: E402
from penstock.gold.quantize import (  # noqa: E402
    INPUT_SCALE,
    common_shift,
    fold_gate,
    quantize_weights,
    whole_multipliers,
)
from penstock.gold.runner import run  # noqa: E402
from penstock.network import INPUT, Convolution  # noqa: E402

WIDE = np.full((1, 1000, 3, 3), 127, np.int8)  # partial sums reach far beyond these tests' numbers


def fold(mean, variance, epsilon, delta, scale, weights=WIDE):
    mean, variance, delta, scale = np.array([[mean], [variance], [delta], [scale]], np.float64)
    threshold = fold_gate(mean, variance, epsilon, delta, scale, weights)
    assert threshold.dtype == np.int32
    return threshold.item()


@pytest.mark.parametrize("seed", range(40))
def test_folded_gate_decides_as_the_norm_does(seed):
    """Exactly, in 50 decimal digits, for the integers around the threshold."""
    rng = np.random.default_rng(seed)
    mean, delta = rng.normal(0, 5, 2)
    variance, scale = rng.uniform(0.1, 9), 10 ** rng.uniform(-5, 0)
    threshold = fold(mean, variance, 1e-5, delta, scale)
    with decimal.localcontext(prec=50):
        exact = [decimal.Decimal(float(value)) for value in (mean, variance, 1e-5, delta, scale)]
        mean, variance, epsilon, delta, scale = exact
        for psum in range(threshold - 3, threshold + 4):
            normal = (psum * scale - mean) / (variance + epsilon).sqrt()
            assert (psum > threshold) == (normal > delta), f"replay: {seed=}, {psum=}"


def test_the_threshold_is_rounded_down():
    assert fold(2.5, 1, 0, 0, 1) == 2
    assert fold(-2.5, 1, 0, 0, 1) == -3
    assert fold(-2.0, 1, 0, 0, 1) == -2  # a sum of -2 is a tie, and skipped
    assert fold(1, 4, 0, 0.75, 0.5) == 5
    assert fold(0, 3, 1, -1, 1) == -2


def test_unreachable_thresholds_fit_the_accumulator():
    weights = np.array([[[[3]], [[-4]]]], np.int8)  # sums within +-7 * 255
    assert fold(0, 1, 0, 1e30, 1, weights) == 7 * 255
    assert fold(0, 1, 0, -1e30, 1, weights) == -7 * 255 - 1


def test_common_shift_is_the_finest_that_fits():
    zero = np.zeros(1)
    assert common_shift("a", np.array([32767 / 2**20, -1e-9]), zero) == 20
    assert common_shift("a", np.array([-32767.5 / 2**20]), zero) == 19
    assert common_shift("a", np.array([1e-12]), zero) == 31
    assert common_shift("a", np.array([1e-9]), np.array([-(2.0**9)])) == 29
    assert common_shift("a", np.array([1e-9]), np.array([2.0**9 - 1])) == 30


@pytest.mark.parametrize("factor, offset", [(20000.0, 0.0), (1e-9, 2.0**39)])
def test_constants_that_do_not_fit_are_refused(factor, offset):
    with pytest.raises(PenstockError) as caught:
        common_shift("wide", np.array([factor]), np.array([offset]))
    assert str(caught.value) == (
        "layer wide: multipliers must fit 16 bits and biases 40, the largest are "
        f"{factor:g} and {offset:g} output units"
    )


def test_whole_multipliers_keep_the_product():
    rng = np.random.default_rng(0)
    factors, scales = rng.normal(0, 1e-3, 500), rng.uniform(1e-4, 1e-2, 500)
    factors[:3] = 0.0, 5 / 2**16, -5 / 2**16
    multipliers, grown = whole_multipliers(factors, scales, 16)
    assert multipliers[:3].tolist() == [0, 5, -5]
    assert grown[:3].tolist() == scales[:3].tolist()
    assert (grown >= scales).all()
    used = factors != 0
    # weight unit per real weight is 1/grown: multiplier/grown is what factors/scales asked for
    np.testing.assert_allclose(
        multipliers[used] / grown[used], factors[used] * 2**16 / scales[used], rtol=1e-12
    )


def test_weights_are_rounded_to_nearest():
    weights = np.array([[0.26, -0.24], [1.26, -1.24]])
    got = quantize_weights(weights, np.array([0.5, 0.01]))
    assert got.tolist() == [[1, 0], [126, -124]]
    with pytest.raises(PenstockError) as caught:
        quantize_weights(np.array([[1.28]]), np.array([0.01]))
    assert str(caught.value) == "weights: must stay within +-127 units, not 128"


def small_model():
    """Every kind of shortcut on two channels to eight; norms with odd statistics, both signs."""
    spec = ModelSpec(
        name="small",
        input_channels=2,
        input_size=9,
        classes=3,
        layers=(
            LayerSpec(name="stem", source=INPUT, channels=4),
            LayerSpec(name="gated", source="stem", channels=4, groups=2, residual="stem"),
            LayerSpec(
                name="smaller",
                source="gated",
                channels=8,
                stride=2,
                groups=2,
                residual="gated",
                relu_before_add=True,
            ),
            LayerSpec(
                name="shortcut", source="smaller", channels=8, kernel=1, stride=2, relu=False
            ),
            LayerSpec(
                name="last", source="smaller", channels=8, stride=2, groups=4, residual="shortcut"
            ),
        ),
    )
    torch.manual_seed(1)
    model = GatedNetwork(spec, 0.3)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.3, 2)
            if module.affine:
                module.weight.data.normal_(0, 1)
                module.bias.data.normal_(0.3, 0.3)
    images = np.random.default_rng(2).integers(0, 256, (40, 2, 9, 9), np.uint8)
    return model.eval(), images


@pytest.fixture(scope="module")
def quantized():
    model, images = small_model()
    return model, images, import_gated_network(model, images), tensor_scales(model, images)


def tensor_scales(model, images):
    """Largest value over the largest code, as documented."""
    with torch.no_grad():
        tensors = model.tensors(torch.from_numpy(images).float() / 255)
    return {
        name: float(tensor.abs().max()) / (127 if name == "shortcut" else 255)
        for name, tensor in tensors.items()
    } | {INPUT: INPUT_SCALE}


def test_each_layer_computes_what_its_float_layer_does(quantized):
    """From the same integer inputs: decisions equal, outputs within one unit, nearly all equal."""
    model, images, network, scales = quantized
    model = copy.deepcopy(model).double()
    result = run(network, images)
    for layer in network.layers:
        if not isinstance(layer, Convolution):
            continue
        norm, module = model.norms[layer.name], model.convolutions[layer.name]
        gain = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().numpy()
        source, out = scales[layer.source], scales[layer.name]
        unit = layer.multipliers / 2.0**layer.shift * out / (gain * source)
        close = np.abs(layer.weights * unit[:, None, None, None] - module.weight.detach().numpy())
        assert (close <= unit[:, None, None, None] * 0.5001).all(), layer.name
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(layer.weights * unit[:, None, None, None]))
            x = torch.from_numpy(result.tensors[layer.source]).double() * source
            y = norm(module(x))
            if layer.relu_before_add:
                y = F.relu(y)
            if layer.residual is not None:
                stride = layer.residual.stride
                residual = torch.from_numpy(result.tensors[layer.residual.source]).double()
                residual = residual[:, :, ::stride, ::stride] * scales[layer.residual.source]
                extra = (y.shape[1] - residual.shape[1]) // 2
                y[:, extra : extra + residual.shape[1]] += residual
            if module.groups > 1:
                normal = module.norm(module.partial_sum(x))
                decision = (normal > module.delta[:, None, None]).numpy()
                np.testing.assert_array_equal(result.decisions[layer.name], decision)
                assert 0.05 < decision.mean() < 0.95
        expected = np.rint((y / out).numpy()).clip(layer.low, layer.high)
        off = np.abs(result.tensors[layer.name] - expected)
        assert off.max() <= 1, layer.name
        assert (off == 0).mean() > 0.98, layer.name


def test_multipliers_and_bounds(quantized):
    _, _, network, _ = quantized
    layers = {layer.name: layer for layer in network.layers}
    assert any((layers[name].multipliers < 0).any() for name in ("stem", "gated", "smaller"))
    assert (layers["shortcut"].low, layers["shortcut"].high) == (-128, 127)
    assert (layers["last"].low, layers["last"].high) == (0, 255)
    assert layers["smaller"].residual.stride == 2
    assert layers["gated"].residual.stride == layers["last"].residual.stride == 1
    assert layers["smaller"].relu_before_add
    assert layers["stem"].thresholds is None
    assert not network.input.signed


def test_pool_and_classifier(quantized):
    model, images, network, scales = quantized
    result = run(network, images)
    last, pooled = result.tensors["last"].astype(np.float64), result.tensors["pool"]
    mean = last.mean(axis=(2, 3), keepdims=True) * scales["last"] / scales["pool"]
    assert np.abs(pooled - mean.clip(0, 255)).max() <= 0.51
    assert (mean > 1).mean() > 0.9
    classifier = network.layers[-1]
    weight = model.classifier.weight.detach().double().numpy()
    unit = np.abs(weight).max() / 127  # one for all classes, so that integers can be compared
    assert (np.abs(classifier.weights * unit - weight) <= unit * 0.5001).all()
    bias = model.classifier.bias.detach().double().numpy() / (unit * scales["pool"])
    assert np.abs(classifier.bias - bias).max() <= 0.5001


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["convolutions.gated.weight", "norms.stem.running_var"])
def test_weights_that_are_not_finite_are_refused_by_name(name, value):
    model, images = small_model()
    model.state_dict()[name].view(-1)[1] = value
    with pytest.raises(PenstockError) as caught:
        import_gated_network(model, images)
    assert str(caught.value) == f"weights {name}: must be finite numbers, not NaN or infinite"


def test_a_dead_layer_is_refused_by_name():
    model, images = small_model()
    model.norms["stem"].weight.data.zero_()
    model.norms["stem"].bias.data.fill_(-1)
    with pytest.raises(PenstockError) as caught:
        import_gated_network(model, images)
    assert str(caught.value) == "layer stem: calibration must see a value other than 0"
