"""The training loop: it learns, and it goes on after an interruption as if there had been none."""

import os
import signal

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from penstock.errors import PenstockError  # noqa: E402
from penstock.gold.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from penstock.gold.digits import load_digits_images  # noqa: E402
from penstock.gold.models import GatedNetwork, digits_spec, layer_macs  # noqa: E402
from penstock.gold.trainer import (  # noqa: E402
    Recipe,
    Trainer,
    evaluate,
    mirrored,
    parameter_groups,
    shifted,
)

SHIFT = 2


pytestmark = pytest.mark.usefixtures("one_thread")


def new_model(seed=0):
    torch.manual_seed(seed)
    return GatedNetwork(digits_spec(), 0.75)


def trainer(seed=0, images=1437, **recipe):
    model = new_model(seed)
    data = [array[:images] for array in load_digits_images("train")]
    return Trainer(model, *data, Recipe(**{"epochs": 2, "seed": seed, **recipe}))


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def same(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


def test_the_loss_falls_within_a_few_steps():
    training = trainer(threshold_target=0.75)
    before, losses = weights(training), []
    training.run(steps=40, each_step=lambda trainer: losses.append(trainer.losses[-1]))
    assert len(losses) == 40
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    for name, parameter in training.model.named_parameters():
        assert not torch.equal(parameter, before[name]), f"{name} was not trained"


def test_one_seed_gives_one_network():
    runs = [trainer(seed, epochs=1) for seed in (5, 5, 6)]
    for each in runs:
        torch.manual_seed(each.recipe.seed)
        each.run(steps=3)
    first, again, other = map(weights, runs)
    assert same(first, again)
    assert not same(first, other)


RECIPE = {
    "images": 64 * 4,
    "threshold_target": 1.0,
    "threshold_from": -1.0,
    "flip": True,
    "channels_last": True,
}


@pytest.mark.parametrize("steps", [0, 1, 3, 4, 6, 8])
def test_an_interrupted_training_ends_as_a_whole_one(steps, tmp_path):
    """Interrupted by SIGTERM after some of eight steps, in a new process's state, it goes on."""
    whole = trainer(**RECIPE)
    whole.run(each_epoch=lambda trainer: {"fine": True})
    state = tmp_path / "state"
    part = trainer(**RECIPE)

    def interrupt(trainer):
        if trainer.step == steps:
            os.kill(os.getpid(), signal.SIGTERM)

    if steps:
        with pytest.raises(KeyboardInterrupt):
            part.run(state=state, each_step=interrupt, each_epoch=lambda trainer: {"fine": True})
    else:
        part.save(state)
    assert part.step == steps
    rest = trainer(**RECIPE)
    torch.manual_seed(99)  # the state brings its own generator
    rest.load(state)
    rest.run(state=state, each_epoch=lambda trainer: {"fine": True})
    assert same(weights(rest), weights(whole))
    for mine, theirs in zip(rest.log, whole.log, strict=True):
        assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}


def test_states_that_are_refused(tmp_path):
    state = tmp_path / "state"
    training = trainer(images=128)
    damaged = (
        f"training state {state}: must be the whole state of a training, is damaged or no such "
        "file: remove it to begin anew"
    )
    state.write_bytes(b"foreign")
    assert refusal(lambda: training.load(state)) == damaged
    training.save(state)
    state.write_bytes(state.read_bytes()[:5000])
    assert refusal(lambda: training.load(state)) == damaged
    training.save(state)
    other = trainer(images=128, epochs=3)
    assert refusal(lambda: other.load(state)) == (
        f"training state {state}: its epochs must be 3, is 2: give the options it was made with, "
        "or remove it"
    )


def test_thresholds_rise_to_their_target():
    training = trainer(images=128, epochs=10, threshold_target=1.5, threshold_from=-2.0)
    delta = training.model.convolutions["block1_conv1"].delta
    means = [float(delta.detach().mean())]
    training.run(each_step=lambda trainer: means.append(float(delta.detach().mean())))
    assert means[0] == -2.0
    # The first of 20 steps sees -2, the sixth and all later ones 1.5.
    assert np.all(np.diff(means[1:7]) > 0.6)
    assert means[6:] == pytest.approx([1.5] * 15, abs=0.05)


def test_a_teacher_is_listened_to():
    """With a teacher that always says the same class, its pupil learns that class."""
    teacher = new_model(1)
    teacher.classifier.weight.data.zero_()
    teacher.classifier.bias.data = torch.eye(10)[3] * 40
    model = new_model(2)
    images, labels = load_digits_images("train")
    training = Trainer(model, images[:256], labels[:256], Recipe(epochs=3), teacher)
    training.run()
    model.eval()
    with torch.no_grad():
        classes = model(torch.from_numpy(images[:100]).float() / 255).argmax(dim=1)
    assert (classes == 3).float().mean() > 0.9


def test_evaluation_counts_work():
    model = new_model()
    images, labels = load_digits_images("test")
    macs = layer_macs(model.spec)
    assert sum(dense for dense, _ in macs.values()) == 3_019_392
    always, never = -1e9, 1e9
    for threshold, density in ((always, 1.0), (never, 0.0)):
        for module in model.convolutions.values():
            if module.groups > 1:
                module.delta.data.fill_(threshold)
        evaluation = evaluate(model, images[:64], labels[:64])
        assert evaluation.density == density
        executed = sum(macs[name][density == 0.0] for name in macs)
        assert evaluation.mac_reduction == pytest.approx(3_019_392 / executed)


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
    moved = shifted(images, SHIFT)
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


def test_about_every_other_image_is_mirrored():
    torch.manual_seed(0)
    images = torch.rand(200, 2, 4, 4)
    moved = mirrored(images)
    flipped = [torch.equal(moved[i], images[i].flip(2)) for i in range(200)]
    assert all(flipped[i] or torch.equal(moved[i], images[i]) for i in range(200))
    assert 70 < sum(flipped) < 130


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
