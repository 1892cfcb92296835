"""Training from scratch, in small: the loss falls, checkpoints return, bad weights are refused."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from penstock.errors import PenstockError  # noqa: E402
from penstock.gold.digits import load_digits_images  # noqa: E402
from penstock.gold.models import GatedNetwork, digits_spec  # noqa: E402
from penstock.gold.runner import run  # noqa: E402
from penstock.gold.train import (  # noqa: E402
    SHIFT,
    fit,
    load_checkpoint,
    parameter_groups,
    save_checkpoint,
    shifted,
    train_digits,
)
from penstock.network import load_network  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def new_model(seed=0):
    torch.manual_seed(seed)
    return GatedNetwork(digits_spec(), 0.75)


def test_the_loss_falls_within_a_few_steps():
    model = new_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    losses = fit(model, *load_digits_images("train"), epochs=2, steps=40)
    assert len(losses) == 40
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    for name, parameter in model.named_parameters():
        assert not torch.equal(parameter, before[name]), f"{name} was not trained"


def test_one_seed_gives_one_network():
    data = load_digits_images("train")
    first, again, other = (fit(new_model(seed), *data, epochs=1, steps=3) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_the_recipe_writes_what_it_measured(tmp_path):
    path, checkpoint = tmp_path / "network", tmp_path / "checkpoint"
    summary = train_digits(path, checkpoint=checkpoint, epochs=1, seed=3, progress=False)
    images, labels = load_digits_images("test")
    result = run(load_network(path), images)
    assert summary["images"] == 360
    assert summary["integer_accuracy"] == (result.classes == labels).mean()
    assert summary["mac_reduction"] == result.mac_reduction
    assert summary["macs_dense"] == result.macs_dense
    assert summary["mac_reduction_range"][0] < result.mac_reduction
    assert (summary["epochs"], summary["seed"]) == (1, 3)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["checkpoint", "network"]
    load_checkpoint(new_model(), checkpoint)


def test_bad_arguments_are_refused_before_training(tmp_path):
    with pytest.raises(PenstockError) as caught:
        train_digits(tmp_path / "network", epochs=0, progress=False)
    assert str(caught.value) == "epochs must be at least 1, not 0"
    path = tmp_path / "missing" / "network"
    with pytest.raises(PenstockError) as caught:
        train_digits(path, progress=False)
    assert str(caught.value) == f"{path}: must be a writable file (its folder does not exist)"
    assert not list(tmp_path.iterdir())


def test_thresholds_and_norms_do_not_decay():
    model = new_model()
    decaying, others = parameter_groups(model)
    assert decaying["weight_decay"] > 0
    assert others["weight_decay"] == 0
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decaying = {names.pop(id(parameter)) for parameter in decaying["params"]}
    others = {names.pop(id(parameter)) for parameter in others["params"]}
    assert not names
    assert all(name.endswith("weight") and "norm" not in name for name in decaying)
    assert sum(name.endswith("delta") for name in others) == 6


def test_each_image_is_shifted_on_its_own():
    torch.manual_seed(0)
    images = torch.rand(60, 1, 16, 16) + 1
    moved = shifted(images)
    found = set()
    for image, result in zip(images, moved, strict=True):
        matches = [
            (dy, dx)
            for dy in range(-SHIFT, SHIFT + 1)
            for dx in range(-SHIFT, SHIFT + 1)
            if torch.equal(
                result[:, max(-dy, 0) : 16 - max(dy, 0), max(-dx, 0) : 16 - max(dx, 0)],
                image[:, max(dy, 0) : 16 + min(dy, 0), max(dx, 0) : 16 + min(dx, 0)],
            )
        ]
        assert len(matches) == 1
        dy, dx = matches[0]
        assert int((result == 0).sum()) == 256 - (16 - abs(dy)) * (16 - abs(dx))
        found.add((dy, dx))
    assert len(found) > 15


def test_checkpoints_come_back(tmp_path):
    model, other = new_model(1), new_model(2)
    save_checkpoint(model, tmp_path / "c")
    load_checkpoint(other, tmp_path / "c")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def refusal(call):
    with pytest.raises(PenstockError) as caught:
        call()
    return str(caught.value)


def test_checkpoints_that_are_refused(tmp_path):
    path, model = tmp_path / "c", new_model()
    load = lambda: load_checkpoint(model, path)  # noqa: E731
    assert (
        refusal(load) == f"checkpoint {path}: must be a readable file (No such file or directory)"
    )
    path.write_bytes(b"foreign")
    assert refusal(load).startswith(f"checkpoint {path}: must be a safetensors file (")
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(weights | {"classifier.bias": torch.zeros(9)}, path)
    assert refusal(load) == (f"checkpoint {path}: classifier.bias must have shape (10,), not (9,)")
    weights["norms.stem.weight"][3] = float("nan")
    save_file(weights, path)
    message = "weights norms.stem.weight: must be finite numbers, not NaN or infinite"
    assert refusal(load) == message
    model.norms["stem"].weight.data[3] = float("inf")
    path.unlink()
    assert refusal(lambda: save_checkpoint(model, path)) == message
    assert not path.exists()
