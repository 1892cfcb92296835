"""The training loop of gated networks: a recipe, its steps, and a state that can be taken up again.

A state holds everything that the next step depends on, the random generator included: a training
that was interrupted and taken up again ends with the same weights as one that was not.
"""

import contextlib
import dataclasses
import io
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from penstock.errors import PenstockError
from penstock.gold.models import GatedNetwork, layer_macs
from penstock.gold.quantize import INPUT_SCALE
from penstock.gold.torch_layers import target_loss
from penstock.network import write_whole

MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4  # of convolution and classifier weights only
RAMP = 0.25  # part of all steps in which thresholds rise to their target
DISTILLATION = 0.7  # weight of the teacher's answers against the labels
TEMPERATURE = 4.0  # both networks' logits are divided by it before they are compared
SAVE_SECONDS = 60  # between two states on disk


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """SGD with Nesterov momentum, over one cycle of the learning rate.

    With ``threshold_from`` the gates' thresholds begin there and rise to ``threshold_target``
    linearly during the first quarter, in standard deviations of the partial sums; each channel
    keeps what it has learned on top. Raises PenstockError where a number breaks its rule.
    """

    epochs: int
    seed: int = 0  # of torch's generator, set before the model is made
    batch: int = 64
    learning_rate: float = 0.1  # the peak
    shift: int = 2  # each image is moved at random by up to so many pixels, both ways
    flip: bool = False  # every other image is mirrored, at random
    threshold_target: float = 0.0
    threshold_from: float | None = None
    channels_last: bool = False  # faster where maps have many channels

    def __post_init__(self):
        if self.epochs < 1:
            raise PenstockError(f"epochs must be at least 1, not {self.epochs!r}")
        if self.batch < 2:
            raise PenstockError(f"batch must be at least 2 images, not {self.batch!r}")
        if not 0 < self.learning_rate < 10:
            raise PenstockError(f"learning rate must be in 0..10, not {self.learning_rate!r}")

    def threshold(self, progress: float) -> float:
        """The thresholds' target when a part ``progress`` (0..1) of all steps is done."""
        if self.threshold_from is None:
            return self.threshold_target
        risen = min(progress / RAMP, 1.0)
        return self.threshold_from + risen * (self.threshold_target - self.threshold_from)


@dataclass(frozen=True)
class Evaluation:
    """What a float model does on images."""

    accuracy: float  # 0..1
    density: float  # conditional MACs executed / all conditional MACs; 1 where nothing is gated
    mac_reduction: float  # dense MACs / MACs executed, whole network


@torch.no_grad()
def evaluate(model: GatedNetwork, images: np.ndarray, labels: np.ndarray) -> Evaluation:
    """Accuracy and work of a float model on images (N, C, H, W) uint8 with labels (N,)."""
    model.eval()
    device = next(model.parameters()).device
    correct, conditional = 0, 0.0
    macs = layer_macs(model.spec)
    for first in range(0, len(images), 500):
        inputs = torch.from_numpy(images[first : first + 500]).to(device).float() * INPUT_SCALE
        logits = model(inputs)
        classes = logits.argmax(dim=1).cpu().numpy()
        correct += int((classes == labels[first : first + 500]).sum())
        for name, module in model.gates.items():
            dense, base = macs[name]
            conditional += len(inputs) * float(module.density) * (dense - base)
    dense, base = (len(images) * sum(each) for each in zip(*macs.values(), strict=True))
    density = conditional / (dense - base) if model.gates else 1.0
    return Evaluation(correct / len(images), density, dense / (base + conditional))


class Trainer:
    """Trains a model in place with cross-entropy plus the target loss of its thresholds.

    images (N, C, H, W) uint8; labels (N,) int64. Batches, shifts and mirrors come from torch's
    global generator on the CPU. ``teacher``: a trained dense network whose softened
    answers count DISTILLATION of the loss (Hinton et al., "Distilling the Knowledge in a Neural
    Network", 2015). Runs where the model is, on the CPU or a GPU.
    """

    def __init__(
        self,
        model: GatedNetwork,
        images: np.ndarray,
        labels: np.ndarray,
        recipe: Recipe,
        teacher: nn.Module | None = None,
    ):
        self.model, self.recipe = model, recipe
        self.teacher = teacher.eval() if teacher is not None else None
        self.device = next(model.parameters()).device
        self.images, self.labels = torch.from_numpy(images), torch.from_numpy(labels)
        self.per_epoch = len(images) // recipe.batch
        if self.per_epoch == 0:
            raise PenstockError(f"batch must be at most {len(images)} images, not {recipe.batch}")
        self.total = recipe.epochs * self.per_epoch
        if recipe.channels_last:
            model.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            parameter_groups(model), lr=recipe.learning_rate, momentum=MOMENTUM, nesterov=True
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, recipe.learning_rate, total_steps=self.total, cycle_momentum=False
        )
        self.step = 0
        self.order = torch.empty(0, dtype=torch.int64)  # of this epoch's images
        self.losses: list[float] = []  # of this epoch
        self.log: list[dict] = []  # a record for each epoch
        self.seconds = 0.0
        self._set_threshold(shift=recipe.threshold_from is not None)

    def run(
        self,
        *,
        steps: int | None = None,
        state: Path | None = None,
        each_step: Callable[["Trainer"], None] = lambda trainer: None,
        each_epoch: Callable[["Trainer"], dict] = lambda trainer: {},
    ):
        """Train until the end, or until ``steps`` are done.

        state: file that keeps the training every SAVE_SECONDS, and when it is interrupted (SIGINT,
        SIGTERM), which then raises KeyboardInterrupt. each_epoch gives further fields of its record
        in ``log``.
        """
        last = self.total if steps is None else min(steps, self.total)
        saved = time.monotonic()
        with _deferred_interrupts() as interrupted:
            while self.step < last:
                started = time.monotonic()
                self._train_step()
                self.seconds += time.monotonic() - started
                if self.step % self.per_epoch == 0:
                    self._end_epoch(each_epoch)
                each_step(self)
                due = time.monotonic() - saved > SAVE_SECONDS or self.step == last
                if state is not None and (due or interrupted):
                    self.save(state)
                    saved = time.monotonic()
                if interrupted:
                    raise KeyboardInterrupt

    def _train_step(self):
        position = self.step % self.per_epoch
        if position == 0:
            self.order, self.losses = torch.randperm(len(self.images)), []
        batch = self.recipe.batch
        chosen = self.order[position * batch : (position + 1) * batch]
        images = shifted(self.images[chosen], self.recipe.shift)
        if self.recipe.flip:
            images = mirrored(images)
        inputs = images.to(self.device).float() * INPUT_SCALE
        if self.recipe.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        self._set_threshold(shift=True)
        self.model.train()
        loss = self._loss(inputs, self.labels[chosen].to(self.device))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.losses.append(float(loss.detach()))
        self.step += 1

    def _loss(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = self.model(inputs)
        loss = F.cross_entropy(logits, labels)
        if self.teacher is not None:
            with torch.no_grad():
                taught = F.log_softmax(self.teacher(inputs) / TEMPERATURE, dim=1)
            learned = F.log_softmax(logits / TEMPERATURE, dim=1)
            distance = F.kl_div(learned, taught, reduction="batchmean", log_target=True)
            loss = (1 - DISTILLATION) * loss + DISTILLATION * TEMPERATURE**2 * distance
        return loss + target_loss(self.model)

    def _set_threshold(self, shift: bool):
        """Bring the gates' target to where this step wants it, and their thresholds along."""
        target = self.recipe.threshold(self.step / self.total)
        for module in self.model.gates.values():
            if shift and target != module.threshold_target:
                module.delta.data += target - module.threshold_target
            module.threshold_target = target

    def _end_epoch(self, each_epoch: Callable[["Trainer"], dict]):
        self.log.append(
            {
                "epoch": self.step // self.per_epoch,
                "step": self.step,
                "seconds": round(self.seconds, 1),
                "learning_rate": self.schedule.get_last_lr()[0],
                "threshold_target": self.recipe.threshold(self.step / self.total),
                "loss": float(np.mean(self.losses)),
                **each_epoch(self),
            }
        )

    def save(self, path: Path):
        """Write the state; the file appears whole or not at all."""
        content = io.BytesIO()
        torch.save(
            {
                "made_with": self._made_with(),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "random": torch.get_rng_state(),
                "order": self.order,
                "step": self.step,
                "losses": self.losses,
                "log": self.log,
                "seconds": self.seconds,
            },
            content,
        )
        write_whole(path, content.getvalue())

    def load(self, path: str | os.PathLike):
        """Take up a state. Raises PenstockError where it is foreign, damaged or of another run."""
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise PenstockError(
                f"training state {path}: must be a readable file ({error.strerror})"
            ) from None
        try:
            state = torch.load(io.BytesIO(content), map_location=self.device, weights_only=True)
            made_with = state["made_with"]
        except (pickle.UnpicklingError, RuntimeError, OSError, KeyError, TypeError, ValueError):
            raise PenstockError(
                f"training state {path}: must be the whole state of a training, is damaged or no "
                "such file: remove it to begin anew"
            ) from None
        for name, value in self._made_with().items():
            if made_with.get(name) != value:
                raise PenstockError(
                    f"training state {path}: its {name.replace('_', ' ')} must be {value}, is "
                    f"{made_with.get(name)}: give the options it was made with, or remove it"
                )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"].cpu())
        self.order = state["order"].cpu()
        self.step, self.losses = state["step"], state["losses"]
        self.log, self.seconds = state["log"], state["seconds"]
        # what the last step saw, so that the next one adds the right difference
        target = self.recipe.threshold(max(self.step - 1, 0) / self.total)
        for module in self.model.gates.values():
            module.threshold_target = target

    def _made_with(self) -> dict:
        """What must be the same when a state is taken up again."""
        return {
            "model": self.model.spec.name,
            "gated_layers": len(self.model.gates),
            "groups": max(module.groups for module in self.model.convolutions.values()),
            "teacher": self.teacher is not None,
            "images": len(self.images),
            **dataclasses.asdict(self.recipe),
        }


@contextlib.contextmanager
def _deferred_interrupts() -> Iterator[list[int]]:
    """A list that an interrupt is put into, rather than breaking a step off in the middle."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    signals = signal.SIGINT, signal.SIGTERM
    before = [
        signal.signal(each, lambda number, frame: received.append(number)) for each in signals
    ]
    try:
        yield received
    finally:
        for each, handler in zip(signals, before, strict=True):
            signal.signal(each, handler)


def parameter_groups(model: nn.Module) -> list[dict]:
    """Two optimizer groups: convolution and linear weights decay; thresholds and norms do not."""
    decaying = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [
        {"params": decaying, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]


def shifted(images: torch.Tensor, most: int) -> torch.Tensor:
    """Each image moved by its own random -most..most pixels both ways, zeros coming in."""
    count, _, height, width = images.shape
    padded = F.pad(images, (most,) * 4)
    offsets = torch.randint(0, 2 * most + 1, (2, count)).tolist()
    return torch.stack(
        [
            image[:, top : top + height, left : left + width]
            for image, top, left in zip(padded, *offsets, strict=True)
        ]
    )


def mirrored(images: torch.Tensor) -> torch.Tensor:
    """Each image mirrored left to right, or not, at random."""
    chosen = torch.rand(len(images)) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(3), images)
