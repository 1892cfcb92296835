"""A run's JSON: what it holds for the report page beside the figures, and how it is read back."""

import base64
import os
from collections.abc import Mapping

import numpy as np

from penstock.errors import PenstockError
from penstock.gold.runner import Result
from penstock.network import INPUT
from penstock.record_checks import NUMBER, check, check_kind, check_positive, load_record
from penstock.registers import COUNTERS

RUN_FORMAT = "penstock run 1"
"""What the field ``format`` of a run's JSON says."""

SHOWN_IMAGES = 4
"""Images of which the JSON holds a picture and the maps of open gates."""

_STEPS = ("BASE_STEPS", "CONDITIONAL_STEPS")
_REQUIRED = {
    **{"config": str, "design": str, "network": str, "images": int, "multipliers": int},
    **{"macs_dense": int, "macs_executed": NUMBER, "mac_reduction": NUMBER},
    **{"simulation_speed": NUMBER, "layers": list, "shown": list},
}
_TOGETHER = (
    {"seed": int},
    {"accuracy": NUMBER},
    {"held_out_accuracy": NUMBER, "held_out_images": int},
    {"mismatches": int, "compared": int, "tensors": list},
)
"""Fields that may be absent, together."""
_OF_BOTH_WAYS = {"speedup": NUMBER, "efficiency": NUMBER, "efficiency_range": list}
_UTILIZATION = {"gated": "utilization", "dense": "utilization_dense"}
_OF_A_RUN = {
    **{"cycles": NUMBER, "bytes_read": NUMBER, "bytes_written": NUMBER, "counters": dict},
}
"""Fields of each way that ran: their names end in _gated or _dense."""
_LAYER = {"names": list, "macs_dense": int, "macs_executed": NUMBER}
_LAYER_OF_A_RUN = {"cycles": NUMBER, "model_error": NUMBER}


def channel_densities(decisions: np.ndarray) -> list[float]:
    """Share of open gates of each output channel, over all images; decisions (N, C, H, W) bool."""
    return [round(float(share), 6) for share in decisions.mean(axis=(0, 2, 3))]


def shown_images(golden: Result, classes: np.ndarray | None) -> list[dict]:
    """The first images of a run, each with where its gates opened.

    ``pixels``: the image, (C, H, W) uint8, or None where it is no grey or RGB picture. ``maps``:
    for each gated layer, the share of open gates over its channels as 0..255, (H, W) uint8.
    ``class``: what ``classes`` (N,) says, the hardware's answers. Arrays as in `_packed`.
    """
    images = golden.tensors[INPUT]
    picture = images.dtype == np.uint8 and images.shape[1] in (1, 3)
    return [
        {
            "class": None if classes is None else int(classes[index]),
            "pixels": _packed(images[index]) if picture else None,
            "maps": {
                name: _packed(np.rint(made[index].mean(axis=0) * 255).astype(np.uint8))
                for name, made in golden.decisions.items()
            },
        }
        for index in range(min(len(images), SHOWN_IMAGES))
    ]


def _packed(array: np.ndarray) -> dict:
    """``shape``, and the bytes in C order in base64."""
    return {"shape": list(array.shape), "base64": base64.b64encode(array.tobytes()).decode()}


def unpacked(packed: Mapping) -> np.ndarray:
    """The array (uint8) of `_packed`."""
    values = np.frombuffer(base64.b64decode(packed["base64"], validate=True), np.uint8)
    return values.reshape(packed["shape"])


def load_run(path: str | os.PathLike) -> dict:
    """The figures of a run as `penstock simulate`, `compare` or `demo` wrote them.

    Raises PenstockError for anything else, naming the field.
    """
    return load_record(path, "a run", RUN_FORMAT, _check_run)


def ways(run: Mapping) -> list[str]:
    """Which of "dense" and "gated" a run's JSON holds."""
    return [way for way in ("dense", "gated") if f"cycles_{way}" in run]


def spent(counters: Mapping[str, int]) -> dict[str, int]:
    """Cycles of a run by counter: steps, stalls, and START itself; together all that it took.

    Raises PenstockError where the counters exceed the cycles.
    """
    cycles = counters["CYCLES"] | counters["CYCLES_HIGH"] << 32
    parts = {name: counters[name] for name in COUNTERS if name in _STEPS or "STALL" in name}
    rest = cycles - sum(parts.values())
    if rest < 0:
        raise PenstockError(f"must add up to CYCLES, {cycles:,}, exceed it by {-rest:,}")
    return parts | {"START": rest}


def _check_run(run: dict):
    present = ways(run)
    if not present:
        raise PenstockError("cycles_gated or cycles_dense: must be there, neither came")
    check(run, _fields(run, present))
    check_positive(run, ("images", "multipliers", *(f"cycles_{way}" for way in present)))
    low_high = run.get("efficiency_range", [0, 0])
    if len(low_high) != 2 or not all(isinstance(each, NUMBER) for each in low_high):
        raise PenstockError(f"efficiency_range: must be two numbers, not {low_high}")
    for way in present:
        _check_counters(run[f"counters_{way}"], f"counters_{way}")
    for index, layer in enumerate(run["layers"]):
        _check_layer(layer, present, f"layers[{index}]")
    for index, tensor in enumerate(run.get("tensors", [])):
        check_kind(tensor, dict, f"tensors[{index}]")
        wanted = {"name": str, "values": int} | _suffixed({"mismatches": int}, present)
        check(tensor, wanted, f"tensors[{index}].")
    for index, shown in enumerate(run["shown"]):
        _check_shown(shown, f"shown[{index}]")


def _fields(run: dict, present: list[str]) -> dict:
    """What a run must hold, with its kind."""
    fields = _REQUIRED | _suffixed(_OF_A_RUN, present)
    fields |= {_UTILIZATION[way]: NUMBER for way in present}
    fields |= {} if run.get("design") == "core" else {"axi_bits": int}
    fields |= _OF_BOTH_WAYS if len(present) == 2 else {}
    for together in _TOGETHER:
        fields |= together if any(name in run for name in together) else {}
    return fields


def _check_counters(counters: dict, where: str):
    check(counters, dict.fromkeys(COUNTERS, int), f"{where}.")
    try:
        spent(counters)
    except PenstockError as error:
        raise PenstockError(f"{where}: {error}") from None


def _check_layer(layer: dict, present: list[str], where: str):
    check_kind(layer, dict, where)
    check(layer, _LAYER | _suffixed(_LAYER_OF_A_RUN, present), f"{where}.")
    if layer.get("density") is not None:
        check(layer, {"density": NUMBER, "channel_density": list}, f"{where}.")
        for share in layer["channel_density"]:
            check_kind(share, NUMBER, f"{where}.channel_density")


def _check_shown(shown: dict, where: str):
    check_kind(shown, dict, where)
    check(shown, {"maps": dict}, f"{where}.")
    arrays = {f"maps.{name}": (packed, 2) for name, packed in shown["maps"].items()}
    if shown.get("pixels") is not None:
        arrays["pixels"] = shown["pixels"], 3
    for name, (packed, dimensions) in arrays.items():
        check_kind(packed, dict, f"{where}.{name}")
        check(packed, {"shape": list, "base64": str}, f"{where}.{name}.")
        try:
            array = unpacked(packed)
        except (ValueError, TypeError):
            raise PenstockError(f"{where}.{name}: its bytes must fill its shape") from None
        if array.ndim != dimensions or not array.size:
            raise PenstockError(
                f"{where}.{name}: must have {dimensions} dimensions, none of them 0, "
                f"not {packed['shape']}"
            )
        if name == "pixels" and len(array) not in (1, 3):
            raise PenstockError(f"{where}.{name}: must have 1 or 3 channels, not {len(array)}")


def _suffixed(fields: dict, present: list[str]) -> dict:
    return {f"{name}_{way}": kind for way in present for name, kind in fields.items()}
