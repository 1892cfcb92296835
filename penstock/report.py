"""What simulated runs measured: one dict for `simulate`, `compare` and `demo`.

Cycles and MACs are averages per image; docs/command_line.md defines efficiency and utilization.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from penstock.config import Config
from penstock.cycles import estimate
from penstock.errors import SimulationError
from penstock.gold import runner as gold
from penstock.network import Classifier
from penstock.program import Program
from penstock.record import RUN_FORMAT, channel_densities, shown_images
from penstock.registers import Code

if TYPE_CHECKING:  # cocotb and Amaranth are slow to import
    from penstock.sim.simulate import Comparison, Run

GATED, DENSE = True, False
SUFFIX = {GATED: "gated", DENSE: "dense"}
"""Whether the gates are on -> how the names of its figures end."""


def measure(
    program: Program, images: np.ndarray, runs: Mapping[bool, Run], *, core_alone: bool = False
) -> dict:
    """The figures of runs of one program on images (N, C, H, W), by whether gating was on.

    Fields that need the run that is missing are left out. A run that stopped with an error has no
    figures: give only those whose code is OK.
    """
    golden = gold.run(program.network, images)
    multipliers = program.config.multipliers
    macs = {GATED: float(golden.macs_executed.mean()), DENSE: float(golden.macs_dense)}
    figures = {
        "format": RUN_FORMAT,
        "config": program.config.name,
        **design_figures(program.config, core_alone=core_alone),
        "network": program.network.name,
        "images": len(images),
        "multipliers": multipliers,
        "macs_dense": golden.macs_dense,
        "macs_executed": macs[GATED],
        "mac_reduction": golden.mac_reduction,
        "mac_reduction_range": _range(golden.macs_dense / golden.macs_executed),
        "density_range": _range(densities(golden)),
    }
    cycles = {gating: run.cycles / len(images) for gating, run in runs.items()}
    for gating in cycles:
        figures[f"cycles_{SUFFIX[gating]}"] = cycles[gating]
        name = "utilization" if gating else "utilization_dense"
        figures[name] = macs[gating] / (cycles[gating] * multipliers)
        figures[f"bytes_read_{SUFFIX[gating]}"] = runs[gating].bytes_read / len(images)
        figures[f"bytes_written_{SUFFIX[gating]}"] = runs[gating].bytes_written / len(images)
        figures[f"counters_{SUFFIX[gating]}"] = runs[gating].counters
    if len(runs) == 2:
        figures["speedup"] = cycles[DENSE] / cycles[GATED]
        figures["efficiency"] = figures["speedup"] / figures["mac_reduction"]
        reductions = golden.macs_dense / golden.macs_executed
        speedups = runs[DENSE].image_cycles / runs[GATED].image_cycles
        figures["efficiency_range"] = _range(speedups / reductions)
    figures["simulation_speed"] = _speed(runs)
    figures["layers"] = _layers(program, golden, runs)
    figures["shown"] = shown_images(golden, _classes(runs))
    return figures


def _classes(runs: Mapping[bool, Run]) -> np.ndarray | None:
    """(N,) the hardware's answers, gating on where it ran; None without a classifier."""
    logits = runs[GATED if GATED in runs else DENSE].logits
    return None if logits is None else logits.argmax(axis=1)


def design_figures(config: Config, *, core_alone: bool = False) -> dict:
    """Which design ran: ``design``, and ``axi_bits`` of the accelerator."""
    return {"design": "core"} if core_alone else {"design": "axi", "axi_bits": config.axi_bits}


def densities(golden: gold.Result) -> np.ndarray:
    """(N,) share of the gated outputs of each image that take the conditional path; 0 without."""
    taken = [made.sum(axis=(1, 2, 3)) for made in golden.decisions.values()]
    outputs = sum(made[0].size for made in golden.decisions.values())
    return np.sum(taken, axis=0) / outputs if outputs else np.zeros(len(golden.output))


def _range(values: np.ndarray) -> list[float]:
    return [float(values.min()), float(values.max())]


def _speed(runs: Mapping[bool, Run]) -> float:
    """Simulated cycles per second of wall time, all runs together."""
    seconds = sum(run.cycles / run.speed for run in runs.values() if run.speed)
    return sum(run.cycles for run in runs.values()) / seconds if seconds else 0.0


def _layers(program: Program, golden: gold.Result, runs: Mapping[bool, Run]) -> list[dict]:
    """One entry for each layer of the program: cycles from first base fetch to last write."""
    modelled = {gating: _modelled(program, golden, gating) for gating in runs}
    layers = []
    for index, names in enumerate(program.layer_names):
        decisions = golden.decisions.get(names[0])
        entry = {
            "names": list(names),
            "macs_dense": sum(golden.layer_macs_dense[name] for name in names),
            "macs_executed": float(sum(golden.layer_macs_executed[name].mean() for name in names)),
            "density": None if decisions is None else float(decisions.mean()),
        }
        if decisions is not None:
            entry["channel_density"] = channel_densities(decisions)
        for gating, run in runs.items():
            measured = run.layer_cycles[:, index]
            model = modelled[gating][:, index]
            entry[f"cycles_{SUFFIX[gating]}"] = float(measured.mean())
            entry[f"model_{SUFFIX[gating]}"] = float(model.mean())
            entry[f"model_error_{SUFFIX[gating]}"] = float(model.sum() / measured.sum() - 1)
        layers.append(entry)
    return layers


def _modelled(program: Program, golden: gold.Result, gating: bool) -> np.ndarray:
    """(N, layers) cycles of the cycle model; with gating off every image takes the same."""
    count = len(golden.output)
    decisions = [{name: made[i] for name, made in golden.decisions.items()} for i in range(count)]
    if not gating:
        decisions = decisions[:1]
    estimates = [estimate(program, each, gating) for each in decisions]
    cycles = np.array([[layer.running for layer in each.layers] for each in estimates])
    return np.broadcast_to(cycles, (count, cycles.shape[1]))


def compare_runs(
    program: Program, images: np.ndarray, runs: Mapping[bool, Run]
) -> dict[bool, list[Comparison]]:
    """Each run against the golden model, by whether gating was on; see penstock.sim.simulate."""
    from penstock.sim.simulate import compare

    return {gating: compare(run, program, images, gating) for gating, run in runs.items()}


def comparison_figures(comparisons: Mapping[bool, list[Comparison]]) -> dict:
    """``mismatches`` and ``compared`` values of all tensors, counters and writes; each one's."""
    each = [comparison for made in comparisons.values() for comparison in made]
    tensors: dict[str, dict] = {}
    for gating, made in comparisons.items():
        for one in made:
            tensor = tensors.setdefault(one.layer, {"name": one.layer, "values": one.elements})
            tensor[f"mismatches_{SUFFIX[gating]}"] = one.mismatches
    return {
        "mismatches": sum(comparison.mismatches for comparison in each),
        "compared": sum(comparison.elements for comparison in each),
        "tensors": list(tensors.values()),
    }


def failures(program: Program, runs: Mapping[bool, Run]) -> list[str]:
    """One line for each run that the core ended with an error."""
    return [
        f"the core stopped with {run.code.name} (gating {'on' if gating else 'off'}), "
        f"layer {_layer_name(program, run.counters['LAYER'])}, after {run.cycles:,} cycles"
        for gating, run in runs.items()
        if run.code != Code.OK
    ]


def check_runs(program: Program, runs: Mapping[bool, Run]):
    """Raises SimulationError with the first line of `failures`, if there is one."""
    for line in failures(program, runs):
        raise SimulationError(f"{program.network.name}: {line}")


def _layer_name(program: Program, index: int) -> str:
    names = program.layer_names
    return "+".join(names[index]) if index < len(names) else str(index)


def first_difference(
    program: Program, comparisons: Mapping[bool, list[Comparison]]
) -> tuple[bool, str] | None:
    """(gating, sentence) of the first difference in the order of layers; None where all agree."""
    for gating, made in comparisons.items():
        for comparison in made:
            if comparison.mismatches:
                return gating, _difference(program, comparison)
    return None


def _difference(program: Program, comparison: Comparison) -> str:
    known = program.network.shapes()
    if comparison.first is None:
        return f"{comparison.layer}: the hardware wrote no such tensor"
    image, channel, y, x, hardware, golden = comparison.first
    values = f"hardware {hardware}, golden {golden}"
    if comparison.layer not in known:
        return f"{comparison.layer}: {values}"
    if isinstance(program.network.layers[-1], Classifier) and (
        comparison.layer == program.network.layers[-1].name
    ):
        return f"layer {comparison.layer}, image {image}, class {channel}: {values}"
    return f"layer {comparison.layer}, image {image}, channel {channel}, pixel ({y}, {x}): {values}"
