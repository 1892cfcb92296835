"""Float weights of a model, as safetensors files."""

import os

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from penstock.errors import PenstockError
from penstock.gold.models import GatedNetwork
from penstock.network import write_whole


def check_finite(model: torch.nn.Module):
    """Raise PenstockError naming the first tensor of a model that holds NaN or infinite values."""
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise PenstockError(f"weights {name}: must be finite numbers, not NaN or infinite")


def save_checkpoint(model: GatedNetwork, path: str | os.PathLike):
    """Write a model's float weights; the file appears whole or not at all.

    Raises PenstockError naming the tensor where a weight is not finite.
    """
    check_finite(model)
    weights = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_whole(path, save(weights))


def load_checkpoint(model: GatedNetwork, path: str | os.PathLike, *, ungated: bool = False) -> bool:
    """Read float weights into a model of the same layers; tells whether the file had its gates.

    With ``ungated`` the file may be of the dense network: gates then keep their thresholds and
    their norms' statistics. Raises PenstockError where the file is missing, foreign or of another
    model, and naming the tensor where a weight is not finite.
    """
    weights = _read(path)
    expected = model.state_dict()
    gates = _gate_tensors(model)
    gated = not gates.isdisjoint(weights)
    if ungated and not gated:
        weights |= {name: expected[name] for name in gates}
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found != shapes:
        name = sorted(set(found.items()) ^ set(shapes.items()))[0][0]
        raise PenstockError(
            f"checkpoint {path}: {name} must have shape {shapes.get(name)}, not {found.get(name)}"
        )
    model.load_state_dict(weights)
    check_finite(model)
    return gated


def _read(path: str | os.PathLike) -> dict[str, torch.Tensor]:
    try:
        with open(path, "rb") as file:
            return load(file.read())
    except OSError as error:
        raise PenstockError(
            f"checkpoint {path}: must be a readable file ({error.strerror})"
        ) from None
    except SafetensorError as error:
        raise PenstockError(f"checkpoint {path}: must be a safetensors file ({error})") from None


def _gate_tensors(model: GatedNetwork) -> set[str]:
    """Names of the tensors that a gated convolution has and a dense one has not."""
    return {
        f"convolutions.{layer}.{name}"
        for layer, module in model.gates.items()
        for name in module.state_dict()
        if name != "weight"
    }
