"""Training of gated networks, float checkpoints, and the recipe of the shipped digits network."""

import os
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from penstock.errors import PenstockError
from penstock.gold.digits import load_digits_images
from penstock.gold.models import GatedNetwork, digits_spec
from penstock.gold.quantize import INPUT_SCALE, check_finite, quantize
from penstock.gold.runner import run
from penstock.gold.torch_layers import target_loss
from penstock.network import save_network, write_whole

BATCH = 64
LEARNING_RATE = 0.1  # the peak of one cycle, SGD
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4  # of convolution and classifier weights only
SHIFT = 2  # augmentation: pixels, in each direction
DIGITS_EPOCHS = 60
DIGITS_THRESHOLD_TARGET = 0.75  # standard deviations: how much is skipped


def train_digits(
    output: str | os.PathLike | None = None,
    *,
    checkpoint: str | os.PathLike | None = None,
    epochs: int = DIGITS_EPOCHS,
    seed: int = 0,
    threshold_target: float = DIGITS_THRESHOLD_TARGET,
    progress: bool = True,
) -> dict:
    """Train the gated digits network from scratch, quantize it, and measure it on held-out images.

    Writes the network file ``output`` and the float ``checkpoint`` where given. One thread, so that
    a seed gives one network on one machine. Returns a dict: ``float_accuracy``,
    ``integer_accuracy`` (0..1), ``mac_reduction``, ``macs_dense`` (per image),
    ``mac_reduction_range`` (smallest and largest of one image), ``images``, ``epochs``, ``seed``,
    ``threshold_target``, ``seconds``. Raises PenstockError where epochs is below 1, a weight is not
    finite or a file cannot be written.
    """
    if epochs < 1:
        raise PenstockError(f"epochs must be at least 1, not {epochs!r}")
    for path in filter(None, (output, checkpoint)):  # not after minutes of training
        if not Path(path).parent.is_dir():
            raise PenstockError(f"{path}: must be a writable file (its folder does not exist)")
    started = time.monotonic()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = GatedNetwork(digits_spec(), threshold_target)
    images, labels = load_digits_images("train")
    fit(model, images, labels, epochs=epochs, progress=progress)
    network = quantize(model, images)
    if checkpoint is not None:
        save_checkpoint(model, checkpoint)
    if output is not None:
        save_network(network, output)
    images, labels = load_digits_images("test")
    result = run(network, images)
    reductions = result.macs_dense / result.macs_executed
    return {
        "float_accuracy": accuracy(model, images, labels),
        "integer_accuracy": float((result.classes == labels).mean()),
        "mac_reduction": result.mac_reduction,
        "macs_dense": result.macs_dense,
        "mac_reduction_range": [float(reductions.min()), float(reductions.max())],
        "images": len(images),
        "epochs": epochs,
        "seed": seed,
        "threshold_target": threshold_target,
        "seconds": time.monotonic() - started,
    }


def fit(
    model: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epochs: int,
    steps: int | None = None,
    progress: bool = False,
) -> list[float]:
    """Train a model in place with cross-entropy plus the target loss of its thresholds.

    images (N, C, H, W) uint8; labels (N,) int64; ``steps`` stops early. Batches and shifts come
    from torch's global generator: seed it first. Returns the loss of each step; ``progress`` shows
    a bar.
    """
    inputs, targets = torch.from_numpy(images).float() * INPUT_SCALE, torch.from_numpy(labels)
    per_epoch = len(inputs) // BATCH
    optimizer = torch.optim.SGD(
        parameter_groups(model), lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=epochs * per_epoch, cycle_momentum=False
    )
    losses: list[float] = []
    model.train()
    with _progress_bar() if progress else nullcontext() as bar:
        task = bar and bar.add_task("training", total=steps or epochs * per_epoch, loss="")
        for _ in range(epochs):
            for batch in torch.randperm(len(inputs))[: per_epoch * BATCH].split(BATCH):
                if len(losses) == steps:
                    return losses
                loss = _step(model, optimizer, shifted(inputs[batch]), targets[batch])
                schedule.step()
                losses.append(loss)
                if bar:
                    bar.update(task, advance=1, loss=f"loss {loss:.3f}")
    return losses


def _step(model, optimizer, inputs: torch.Tensor, targets: torch.Tensor) -> float:
    loss = F.cross_entropy(model(inputs), targets) + target_loss(model)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )


def parameter_groups(model: nn.Module) -> list[dict]:
    """Two optimizer groups: convolution and linear weights decay; thresholds and norms do not."""
    decaying = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [
        {"params": decaying, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]


def shifted(images: torch.Tensor) -> torch.Tensor:
    """Each image moved by its own random -SHIFT..SHIFT pixels both ways, zeros coming in."""
    count, _, height, width = images.shape
    padded = F.pad(images, (SHIFT,) * 4)
    offsets = torch.randint(0, 2 * SHIFT + 1, (2, count)).tolist()
    return torch.stack(
        [
            image[:, top : top + height, left : left + width]
            for image, top, left in zip(padded, *offsets, strict=True)
        ]
    )


@torch.no_grad()
def accuracy(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Part of the images (N, C, H, W) uint8 that the float model classifies as labels (N,) say."""
    model.eval()
    logits = model(torch.from_numpy(images).float() * INPUT_SCALE)
    return float((logits.argmax(dim=1).numpy() == labels).mean())


def save_checkpoint(model: nn.Module, path: str | os.PathLike):
    """Write a model's float weights as safetensors; the file appears whole or not at all.

    Raises PenstockError naming the tensor where a weight is not finite.
    """
    check_finite(model)
    write_whole(path, save(model.state_dict()))


def load_checkpoint(model: nn.Module, path: str | os.PathLike):
    """Read float weights into a model of the same layers.

    Raises PenstockError where the file is missing, foreign or of another model, and naming the
    tensor where a weight is not finite.
    """
    try:
        with open(path, "rb") as file:
            weights = load(file.read())
    except OSError as error:
        raise PenstockError(
            f"checkpoint {path}: must be a readable file ({error.strerror})"
        ) from None
    except SafetensorError as error:
        raise PenstockError(f"checkpoint {path}: must be a safetensors file ({error})") from None
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found != expected:
        name = sorted(set(found.items()) ^ set(expected.items()))[0][0]
        raise PenstockError(
            f"checkpoint {path}: {name} must have shape {expected.get(name)}, not {found.get(name)}"
        )
    model.load_state_dict(weights)
    check_finite(model)
