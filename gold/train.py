"""Recipes: the digits network, and ResNets on CIFAR-10, trained, quantized and measured."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from penstock.errors import PenstockError
from penstock.gold.checkpoint import load_checkpoint, save_checkpoint
from penstock.gold.cifar10 import load_cifar10
from penstock.gold.digits import load_digits_images
from penstock.gold.import_torch import import_gated_network
from penstock.gold.measure import measure
from penstock.gold.models import GatedNetwork, ModelSpec, digits_spec, resnet_spec
from penstock.gold.regroup import regroup
from penstock.gold.trainer import Recipe, Trainer, evaluate
from penstock.network import Network, save_network, write_whole

DIGITS_EPOCHS = 60
DIGITS_THRESHOLD_TARGET = 0.75  # standard deviations: how much is skipped
CIFAR10_EPOCHS = 30
OPEN = -2.0
"""Threshold at which nearly every gate is open: where a dense network's gating begins."""
CALIBRATION_IMAGES = 2000
"""Training images, the first ones, that set the scales of a quantized network's tensors."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What to train, and how. Options left None take the model's recipe.

    Raises PenstockError where an option breaks its rule.
    """

    model: str = "digits"  # or resnet20, resnet32 and so on
    dataset: str | None = None  # digits or cifar10, as the model wants
    data: Path | None = None  # folder of CIFAR-10
    gated: str | None = None  # convolutions of a block: none, conv1 or both
    groups: int | None = None  # p: base paths see 1/p of the inputs
    target: float | None = None  # of the thresholds, in standard deviations: higher skips more
    start: Path | None = None  # float weights to begin with, of a dense or a gated network
    teacher: Path | None = None  # float weights of a dense network of the same depth
    epochs: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    seed: int = 0

    def __post_init__(self):
        expected = "digits" if self.model == "digits" else "cifar10"
        if self.dataset not in (None, expected):
            raise PenstockError(f"dataset of {self.model} must be {expected}, not {self.dataset!r}")
        if self.model == "digits":
            for name in ("data", "gated", "groups", "start", "teacher"):
                if getattr(self, name) is not None:
                    raise PenstockError(f"{name}: the digits network takes none")
        elif self.data is None:
            raise PenstockError(f"data: {self.model} needs the folder of CIFAR-10")
        self.spec()
        self.recipe()

    def spec(self, gated: str | None = None) -> ModelSpec:
        """The network; ``gated`` in place of the option."""
        if self.model == "digits":
            return digits_spec()
        depth = self.model.removeprefix("resnet")
        if depth == self.model or not depth.isdecimal():
            raise PenstockError(f"model must be digits or a resnet as resnet20, not {self.model!r}")
        choice = gated or self.gated or "both"
        return resnet_spec(int(depth), gated=choice, groups=self.groups or 4)

    def recipe(self, threshold_from: float | None = None) -> Recipe:
        """How it is trained."""
        recipe = Recipe(epochs=DIGITS_EPOCHS, threshold_target=DIGITS_THRESHOLD_TARGET)
        if self.model != "digits":
            recipe = Recipe(
                epochs=CIFAR10_EPOCHS,
                batch=128,
                learning_rate=0.2,
                shift=4,
                flip=True,
                threshold_target=0.5,
                channels_last=True,
            )
        given = {
            "epochs": self.epochs,
            "batch": self.batch,
            "learning_rate": self.learning_rate,
            "threshold_target": self.target,
            "threshold_from": threshold_from,
        }
        given = {name: value for name, value in given.items() if value is not None}
        return replace(recipe, seed=self.seed, **given)

    def images(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """(images, labels) of the split "train" or "test"."""
        return load_digits_images(split) if self.data is None else load_cifar10(self.data, split)


def train(
    training: Training,
    output: str | os.PathLike | None = None,
    *,
    checkpoint: str | os.PathLike | None = None,
    log: str | os.PathLike | None = None,
    state: str | os.PathLike | None = None,
    progress: bool = True,
) -> dict:
    """Train a network, quantize it, and measure it on the images that training has not seen.

    Writes the network file ``output``, the float ``checkpoint`` and the ``log``, a line of JSON for
    each epoch, where given. ``state`` keeps the training while it runs, and takes up one that was
    interrupted; it is removed at the end. Returns a dict: ``float_accuracy``, ``integer_accuracy``
    (0..1), ``density``, ``mac_reduction``, ``macs_dense`` (per image), ``mac_reduction_range``
    (smallest and largest of one image), ``images``, ``epochs``, ``seed``, ``threshold_target``,
    ``seconds``, ``threads`` and ``versions``. Raises PenstockError where files cannot be read or
    written, or a weight is not finite.
    """
    for path in filter(None, (output, checkpoint, log, state)):  # not after hours of training
        if not Path(path).parent.is_dir():
            raise PenstockError(f"{path}: must be a writable file (its folder does not exist)")
    if training.model == "digits":
        torch.set_num_threads(1)  # so that a seed gives one network on one machine
    images, labels = training.images("train")
    test = training.images("test")
    trainer = _trainer(training, images, labels)
    if state is not None and Path(state).exists():
        trainer.load(state)
    with _shown(trainer) if progress else contextlib.nullcontext(lambda: None) as show:

        def each_step(trainer: Trainer):
            show()
            if log is not None and trainer.step % trainer.per_epoch == 0:
                lines = "".join(json.dumps(record) + "\n" for record in trainer.log)
                write_whole(log, lines.encode())

        trainer.run(
            state=state and Path(state),
            each_step=each_step,
            each_epoch=lambda trainer: asdict(evaluate(trainer.model, *test)),
        )
    model = trainer.model.cpu()
    network = import_gated_network(model, images[:CALIBRATION_IMAGES])
    if checkpoint is not None:
        save_checkpoint(model, checkpoint)
    if output is not None:
        save_network(network, output)
    figures = {
        "float_accuracy": trainer.log[-1]["accuracy"],
        **integer_figures(network, *test),
        "epochs": trainer.recipe.epochs,
        "seed": training.seed,
        "threshold_target": trainer.recipe.threshold_target,
        "seconds": trainer.seconds,
        "threads": torch.get_num_threads(),
        "versions": {name: metadata.version(name) for name in ("penstock", "torch", "numpy")},
    }
    if state is not None:
        Path(state).unlink(missing_ok=True)
    return figures


def integer_figures(network: Network, images: np.ndarray, labels: np.ndarray) -> dict:
    """What an integer network does on images (N, C, H, W) with labels (N,), by the golden model.

    Returns a dict: ``integer_accuracy`` (0..1), ``density``, ``mac_reduction``, ``macs_dense`` (of
    one image), ``mac_reduction_range`` (smallest and largest of one image), ``images``.
    """
    measured = measure(network, images)
    return {
        "integer_accuracy": measured.accuracy(labels),
        "density": measured.density,
        "mac_reduction": measured.mac_reduction,
        "macs_dense": measured.macs_dense,
        "mac_reduction_range": measured.mac_reduction_range,
        "images": len(images),
    }


def _trainer(training: Training, images: np.ndarray, labels: np.ndarray) -> Trainer:
    """Model and trainer; weights and teacher loaded where the options name them."""
    torch.manual_seed(training.seed)
    device = "cuda" if training.model != "digits" and torch.cuda.is_available() else "cpu"
    recipe = training.recipe()
    model = GatedNetwork(training.spec(), recipe.threshold_target)
    if training.start is not None:
        gates = load_checkpoint(model, training.start, ungated=True)
        if model.gates and not gates:
            dense = GatedNetwork(training.spec(gated="none"), 0.0)
            load_checkpoint(dense, training.start)
            regroup(model, dense, images)
        recipe = training.recipe(threshold_from=_open_gates(model, gates))
    teacher = None
    if training.teacher is not None:
        teacher = GatedNetwork(training.spec(gated="none"), 0.0)
        load_checkpoint(teacher, training.teacher)
        teacher.to(device, memory_format=torch.channels_last)
    return Trainer(model.to(device), images, labels, recipe, teacher)


def _open_gates(model: GatedNetwork, trained: bool) -> float | None:
    """Where the thresholds of loaded weights stand: untrained gates are opened; None without."""
    if not model.gates:
        return None
    mean = float(torch.cat([module.delta.detach() for module in model.gates.values()]).mean())
    standing = mean if trained else OPEN
    for module in model.gates.values():
        module.threshold_target = standing
        if not trained:
            module.delta.data.fill_(standing)
    return standing


@contextlib.contextmanager
def _shown(trainer: Trainer) -> Iterator[Callable[[], None]]:
    """A function to call after each step: it shows how far training is, and each epoch's record."""
    columns = (
        *(TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("steps")),
        *(TextColumn("{task.fields[loss]}"), TimeRemainingColumn()),
    )
    console = Console(stderr=True)
    options = {"console": console, "disable": not console.is_terminal}
    with Progress(*columns, speed_estimate_period=300, **options) as bar:
        task = bar.add_task("", total=trainer.total, completed=trainer.step, loss="")

        def show():
            bar.update(task, completed=trainer.step, loss=f"loss {trainer.losses[-1]:.3f}")
            if trainer.step % trainer.per_epoch == 0:
                console.print(_line(trainer.log[-1], trainer.recipe.epochs), highlight=False)

        yield show


def _line(record: dict, epochs: int) -> str:
    """One epoch in one line."""
    return (
        f"epoch {record['epoch']}/{epochs}  {record['seconds']:,.0f} s  loss {record['loss']:.3f}  "
        f"test accuracy {record['accuracy']:.2%}  MAC reduction {record['mac_reduction']:.2f}x"
    )
