"""Network files: what is saved comes back, and what breaks a rule is refused by name."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from penstock.errors import PenstockError
from penstock.network import (
    INPUT,
    Classifier,
    Convolution,
    Network,
    Pool,
    Residual,
    Shape,
    load_network,
    save_network,
)


def convolution(**changes):
    fields = {
        "name": "gated",
        "source": "stem",
        "weights": np.arange(-72, 72, dtype=np.int8).reshape(4, 4, 3, 3),
        "multipliers": np.array([-3, 2, 1, 0], np.int16),
        "bias": np.array([-(2**39), 2**39 - 1, 0, 1], np.int64),
        "shift": 7,
        "low": -128,
        "high": 127,
        "stride": 2,
        "padding": (1, 0, 1, 2),
        "groups": 2,
        "thresholds": np.array([-(2**31), 2**31 - 1, 0, -1], np.int32),
        "residual": Residual(source="stem", stride=2, multiplier=-5),
        "relu_before_add": True,
    }
    return Convolution(**(fields | changes))


def network(gated=None, **changes):
    stem = convolution(
        name="stem",
        source=INPUT,
        weights=np.ones((4, 3, 1, 1), np.int8),
        low=0,
        high=255,
        stride=1,
        padding=(0, 0, 0, 0),
        groups=1,
        thresholds=None,
        residual=None,
        relu_before_add=False,
    )
    fields = {
        "name": "sample",
        "input": Shape(channels=3, height=5, width=5, signed=True),
        "input_scale": 0.125,
        "layers": (
            stem,
            gated or convolution(),
            Pool(name="largest", source="gated", kind="max", window=(2, 2), padding=(1, 0, 0, 1)),
            Pool(
                name="mean",
                source="largest",
                kind="average",
                multiplier=7,
                shift=9,
                low=-128,
                high=127,
            ),
            Classifier(
                name="classes",
                source="mean",
                weights=np.ones((2, 4), np.int8),
                bias=np.array([-(2**31), 2**31 - 1], np.int32),
            ),
        ),
    }
    return Network(**(fields | changes))


def same(one, other):
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return type(one) is type(other) and one == other


def test_what_is_saved_comes_back(tmp_path):
    saved = network()
    save_network(saved, tmp_path / "n.safetensors")
    loaded = load_network(tmp_path / "n.safetensors")
    assert (loaded.name, loaded.input, loaded.input_scale) == ("sample", saved.input, 0.125)
    assert len(loaded.layers) == len(saved.layers)
    for one, other in zip(saved.layers, loaded.layers, strict=True):
        assert type(one) is type(other)
        for field, value in vars(one).items():
            assert same(value, getattr(other, field)), f"{one.name}.{field}"
    assert loaded.shapes() == saved.shapes()


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_network(network(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_macs():
    sample = network()
    gated = sample.layers[1]
    assert sample.shapes()["gated"] == Shape(channels=4, height=3, width=3, signed=True)
    assert sample.macs(sample.layers[0]) == (4 * 3 * 25, 4 * 3 * 25)
    assert sample.macs(gated) == (4 * 4 * 9 * 9, 2 * 4 * 9 * 9)
    assert sample.macs(sample.layers[2]) == (0, 0)
    assert sample.macs(sample.layers[-1]) == (8, 8)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"name": "stem"}, "layer 'stem': a name must be given once only"),
        ({"source": "later"}, "layer gated: source must be an earlier tensor, not 'later'"),
        (
            {"weights": np.ones((4, 4, 3, 3), np.int16)},
            "layer gated: weights must be int8, not int16",
        ),
        (
            {"weights": np.full((4, 4, 3, 3), np.nan, np.float32)},
            "layer gated: weights must be integers, not NaN or infinite",
        ),
        (
            {"weights": np.ones((4, 5, 3, 3), np.int8)},
            "layer gated: weights must have shape (4, 4, 3, 3), not (4, 5, 3, 3)",
        ),
        (
            {"weights": np.ones((4, 4, 3, 1), np.int8)},
            "layer gated: weights must be (O, I, k, k), not (4, 4, 3, 1)",
        ),
        (
            {"multipliers": np.ones(4, np.int32)},
            "layer gated: multipliers must be int16, not int32",
        ),
        ({"shift": 0}, "layer gated: shift must be an integer in 1..31, not 0"),
        ({"stride": 3}, "layer gated: stride must be an integer in 1..2, not 3"),
        (
            {"padding": (1, 3, 1, 1)},
            "layer gated: padding must be four sizes below the kernel, not (1, 3, 1, 1)",
        ),
        (
            {"groups": 3},
            "layer gated: groups must divide the 4 input and 4 output channels, not 3",
        ),
        (
            {"thresholds": None},
            "layer gated: groups other than 1 need thresholds, 2 came without",
        ),
        ({"high": 128}, "layer gated: high must be an integer in -128..127, not 128"),
        ({"residual": None}, "layer gated: relu_before_add needs a residual"),
        (
            {"residual": Residual(source="stem", stride=1, multiplier=1)},
            "layer gated: residual must be 3x3 pixels, not 5x5",
        ),
        (
            {"residual": Residual(source=INPUT, stride=2, multiplier=1)},
            "layer gated: residual must have 4 channels or an even number fewer, not 3",
        ),
        (
            {"residual": Residual(source="stem", stride=2, multiplier=2**15)},
            "layer gated: residual multiplier must be an integer in -32768..32767, not 32768",
        ),
    ],
)
def test_layers_that_break_a_rule(changes, message):
    with pytest.raises(PenstockError) as caught:
        network(convolution(**changes))
    assert str(caught.value) == message


def test_a_network_needs_layers_and_its_classifier_last():
    with pytest.raises(PenstockError) as caught:
        network(layers=())
    assert str(caught.value) == "network sample: must have at least one layer, not 0"
    layers = network().layers
    with pytest.raises(PenstockError) as caught:
        network(layers=(*layers, Pool(name="more", source="mean", kind="max")))
    assert str(caught.value) == "layer classes: a classifier must be the last layer"


def rewritten(path, **changes):
    """The file with its description changed."""
    save_network(network(), path)
    tensors = load_file(path)
    with safe_open(path, framework="numpy") as file:
        description = json.loads(file.metadata()["penstock"])
    save_file(tensors, path, {"penstock": json.dumps(description | changes)})
    return path


def refusal(path):
    with pytest.raises(PenstockError) as caught:
        load_network(path)
    return str(caught.value)


def test_files_that_are_no_network(tmp_path):
    path = tmp_path / "n"
    assert refusal(path) == f"network {path}: no such file"
    path.write_bytes(b"not a network")
    assert refusal(path).startswith(f"network {path}: must be a safetensors file (")
    save_network(network(), path)
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(path).startswith(f"network {path}: must be a safetensors file (")
    save_file({"a": np.zeros(1)}, path)
    assert refusal(path) == f"network {path}: must be a Penstock network file, has no such metadata"
    rewritten(path, version=2)
    assert refusal(path) == f"network {path}: version must be 1, not 2"
    rewritten(path, layers=[{"kind": "pool"}])
    assert refusal(path).startswith(f"network {path}: must be a whole network file (")


def test_a_missing_tensor_is_refused(tmp_path):
    path = rewritten(tmp_path / "n")
    tensors = load_file(path)
    del tensors["gated.weights"]
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    save_file(tensors, path, metadata)
    assert refusal(path).startswith(f"network {path}: must be a whole network file (")


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    path = tmp_path / "taken"
    path.mkdir()
    with pytest.raises(PenstockError) as caught:
        save_network(network(), path)
    assert str(caught.value) == f"{path}: must be a writable file (Is a directory)"
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]
