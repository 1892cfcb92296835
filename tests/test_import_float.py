"""Import of float networks: a module, its ONNX export and what PyTorch computes are the same."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import import_cases as cases  # noqa: E402

from penstock.compiler import compile_network  # noqa: E402
from penstock.config import preset  # noqa: E402
from penstock.gold.float_network import compute  # noqa: E402
from penstock.gold.import_onnx import import_onnx, read_onnx  # noqa: E402
from penstock.gold.import_torch import float_network, import_module  # noqa: E402
from penstock.gold.runner import run  # noqa: E402
from penstock.gold.torch_layers import ChannelGatedConv2d  # noqa: E402
from penstock.network import Classifier, Convolution, Pool  # noqa: E402
from penstock.registers import Code  # noqa: E402
from penstock.sim.simulate import Job, compare, simulate_many  # noqa: E402

SCALE = 1 / 255


def check_against_torch(model, network, images, tolerance=1e-12):
    """The float network computes what the module does, in double precision."""
    with torch.no_grad():
        expected = model.double()(torch.from_numpy(images).double() * SCALE).numpy()
    output = next(reversed(compute(network, images).values()))
    largest = np.abs(expected).max()
    assert largest > 0.01
    assert np.abs(output.reshape(expected.shape) - expected).max() < tolerance * largest


@pytest.mark.parametrize("name", cases.ZOO)
def test_a_module_computes_the_same_as_a_float_network(name):
    model = cases.made(cases.ZOO[name])
    network = float_network(model, (2, 8, 8), name=name, input_scale=SCALE)
    check_against_torch(model, network, cases.images(3, 2, 8))


@pytest.mark.parametrize("keep_norms", [False, True])
@pytest.mark.parametrize("name", cases.ZOO)
def test_an_onnx_model_computes_the_same_as_a_float_network(name, keep_norms, tmp_path):
    model = cases.made(cases.ZOO[name])
    options = cases.KEEP_NORMS if keep_norms else {}
    path = cases.export(model, (2, 8, 8), tmp_path / f"{name}.onnx", **options)
    images = cases.images(3, 2, 8)
    network = read_onnx(path, images)
    assert (network.name, network.formats) == (name, {})
    folded = 1e-6  # the exporter folds in single precision
    check_against_torch(model, network, images, 1e-12 if keep_norms else folded)


def test_gated_convolutions_stay_gated():
    model = cases.made(cases.gated_zoo)
    images = cases.images(3, 2, 8)
    float_one = float_network(model, (2, 8, 8), name="gated", input_scale=SCALE)
    check_against_torch(model, float_one, images)
    layers = {layer.name: layer for layer in import_module(model.float(), images).layers}
    assert layers["3.conv2"].groups == 2
    assert layers["3.conv2"].thresholds.dtype == np.int32
    assert [name for name, layer in layers.items() if getattr(layer, "groups", 1) > 1] == [
        "3.conv2"
    ]


def test_a_gated_convolution_alone_is_gated():
    model = cases.made(lambda: ChannelGatedConv2d(2, 4, 3, groups=2))
    (layer,) = import_module(model, cases.images(3, 2, 8)).layers
    assert layer.groups == 2


@pytest.fixture(scope="module")
def resnet():
    """(module, images, its integer network)."""
    model, images = cases.made(lambda: cases.ResNet(3)), cases.images(12, 3, 16)
    return model, images, import_module(model, images)


def test_layers_are_named_by_their_modules(resnet):
    _, _, network = resnet
    assert [layer.name for layer in network.layers] == [
        "conv1",
        "layer1.0.conv1",
        "layer1.0.conv2",
        "layer1.1.conv1",
        "layer1.1.conv2",
        "layer2.0.conv1",
        "layer2.0.shortcut.0",
        "layer2.0.conv2",
        "pool",
        "linear",
    ]
    residuals = {
        layer.name: (layer.residual.source, layer.residual.stride)
        for layer in network.layers
        if isinstance(layer, Convolution) and layer.residual
    }
    assert residuals == {
        "layer1.0.conv2": ("conv1", 1),
        "layer1.1.conv2": ("layer1.0.conv2", 2),
        "layer2.0.conv2": ("layer2.0.shortcut.0", 1),
    }
    assert {type(layer) for layer in network.layers} == {Convolution, Pool, Classifier}
    assert all(getattr(layer, "thresholds", None) is None for layer in network.layers)


def test_layers_keep_the_order_of_the_source():
    """Where their last operators stand, not where somebody first reads them."""
    network = import_module(cases.made(cases.ReluBeforeSignedAdd), cases.images(3, 2, 8))
    assert [layer.name for layer in network.layers] == ["shortcut", "conv1", "conv2"]
    last = network.layers[-1]
    assert (last.residual.source, last.relu_before_add, last.low) == ("shortcut", True, -128)


@pytest.mark.parametrize(
    "options", [{"dynamo": True}, {}, cases.KEEP_NORMS], ids=["default", "torchscript", "norms"]
)
def test_the_onnx_export_gives_the_same_integers(resnet, options, tmp_path):
    """Also where the exporter has folded the batch norms into the weights."""
    model, images, network = resnet
    exported = import_onnx(cases.export(model, (3, 16, 16), tmp_path / "n.onnx", **options), images)
    assert len(exported.layers) == len(network.layers)
    for ours, theirs in zip(network.layers, exported.layers, strict=True):
        if not isinstance(ours, Pool):
            assert ours.name == theirs.name
            np.testing.assert_array_equal(ours.weights, theirs.weights)
    np.testing.assert_array_equal(run(network, images).output, run(exported, images).output)


def test_the_hardware_computes_the_same_integers(resnet):
    _, images, network = resnet
    program = compile_network(network, preset("tiny"))
    jobs = [Job(program=program, images=images[:2], gating=gating) for gating in (True, False)]
    for job, done in zip(jobs, simulate_many(jobs, seed=1), strict=True):
        assert done.code == Code.OK
        comparisons = compare(done, program, images[:2], job.gating)
        assert {layer.name for layer in network.layers} <= {each.layer for each in comparisons}
        assert [each for each in comparisons if each.mismatches] == []


def test_integers_follow_the_module(resnet):
    model, images, network = resnet
    with torch.no_grad():
        logits = model.float()(torch.from_numpy(images).float() * SCALE).numpy()
    integers = run(network, images).output.astype(np.float64)
    scale = (integers * logits).sum() / (integers**2).sum()
    assert np.abs(integers * scale - logits).max() < 0.1 * np.abs(logits).max()
    assert (integers.argmax(1) == logits.argmax(1)).mean() > 0.8


def test_the_input_scale_is_that_of_the_images():
    model, images = cases.made(cases.ZOO["mean"]), cases.images(4, 2, 8)
    network = import_module(model, images, input_scale=1 / 64)
    assert network.input_scale == 1 / 64
    scaled = cases.made(cases.Scaled)
    assert import_module(scaled, images).input_scale == SCALE * 4
