"""Recipes in small: what they write, and what they refuse."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from penstock.errors import PenstockError  # noqa: E402
from penstock.gold.checkpoint import load_checkpoint  # noqa: E402
from penstock.gold.digits import load_digits_images  # noqa: E402
from penstock.gold.models import GatedNetwork  # noqa: E402
from penstock.gold.runner import run  # noqa: E402
from penstock.gold.train import Training, train  # noqa: E402
from penstock.network import load_network  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_recipe_writes_what_it_measured(tmp_path):
    path, checkpoint, log = tmp_path / "network", tmp_path / "checkpoint", tmp_path / "log"
    training = Training(epochs=1, seed=3)
    summary = train(training, path, checkpoint=checkpoint, log=log, progress=False)
    images, labels = load_digits_images("test")
    result = run(load_network(path), images)
    assert summary["images"] == 360
    assert summary["integer_accuracy"] == (result.classes == labels).mean()
    assert summary["mac_reduction"] == result.mac_reduction
    assert summary["macs_dense"] == result.macs_dense
    assert summary["mac_reduction_range"][0] < result.mac_reduction
    assert (summary["epochs"], summary["seed"]) == (1, 3)
    assert {entry.name for entry in tmp_path.iterdir()} == {"checkpoint", "log", "network"}
    load_checkpoint(GatedNetwork(training.spec(), 0.75), checkpoint)
    (record,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert (record["epoch"], record["step"]) == (1, 22)
    assert record["accuracy"] == summary["float_accuracy"]


def test_density_is_that_of_the_decisions(tmp_path):
    path = tmp_path / "network"
    summary = train(Training(epochs=1), path, progress=False)
    network, (images, _) = load_network(path), load_digits_images("test")
    decisions = run(network, images).decisions
    layers = {layer.name: layer for layer in network.layers}
    work = {
        name: layers[name].weights[0].size * (1 - 1 / layers[name].groups) for name in decisions
    }
    opened = sum(decisions[name].mean() * decisions[name][0].size * work[name] for name in work)
    possible = sum(decisions[name][0].size * work[name] for name in work)
    assert summary["density"] == pytest.approx(opened / possible)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"batch": 1}, "batch must be at least 2 images, not 1"),
        ({"learning_rate": 0.0}, "learning rate must be in 0..10, not 0.0"),
        ({"dataset": "cifar10"}, "dataset of digits must be digits, not 'cifar10'"),
        ({"gated": "none"}, "gated: the digits network takes none"),
        ({"model": "resnet20"}, "data: resnet20 needs the folder of CIFAR-10"),
        (
            {"model": "vgg", "data": "."},
            "model must be digits or a resnet as resnet20, not 'vgg'",
        ),
        (
            {"model": "resnet21", "data": "."},
            "depth of a ResNet must be 8, 14, 20 or another 6n + 2, not 21",
        ),
        (
            {"model": "resnet20", "data": ".", "gated": "conv2"},
            "gated must be one of none, conv1, both, not 'conv2'",
        ),
        (
            {"model": "resnet20", "data": ".", "groups": 3},
            "groups must be one of 2, 4, 8, 16, not 3",
        ),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(PenstockError) as caught:
        Training(**options)
    assert str(caught.value) == message


def test_outputs_are_checked_before_training(tmp_path):
    path = tmp_path / "missing" / "network"
    with pytest.raises(PenstockError) as caught:
        train(Training(), path, progress=False)
    assert str(caught.value) == f"{path}: must be a writable file (its folder does not exist)"
    assert not list(tmp_path.iterdir())


def test_a_dense_network_is_gated_and_taught(tmp_path, monkeypatch):
    """The whole way on CIFAR-10's shapes: a dense network, its gating with a teacher, both ints."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(12) % 10
    monkeypatch.setattr(Training, "images", lambda self, split: (images, labels))
    common = {"model": "resnet8", "data": tmp_path, "batch": 4, "epochs": 1}
    dense, gated = tmp_path / "dense", tmp_path / "gated"
    train(Training(gated="none", **common), tmp_path / "network", checkpoint=dense, progress=False)
    assert load_network(tmp_path / "network").layers[1].thresholds is None
    training = Training(**common, target=1.0, start=dense, teacher=dense)
    summary = train(training, tmp_path / "network", checkpoint=gated, progress=False)
    layers = load_network(tmp_path / "network").layers[1:-2]
    assert all(layer.thresholds is not None and layer.groups == 4 for layer in layers)
    assert summary["mac_reduction"] > 1.0
    # A gated start goes on from where its thresholds stand.
    model = GatedNetwork(training.spec(), 0.0)
    load_checkpoint(model, gated)
    before = {name: module.delta for name, module in model.convolutions.items() if name != "stem"}
    assert all(abs(float(delta.detach().mean()) - 1.0) < 0.05 for delta in before.values())
