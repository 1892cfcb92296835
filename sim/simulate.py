"""Runs compiled programs on simulated hardware and compares every layer with the golden model."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import penstock
import penstock.hw
import penstock.hw.compact
import penstock.sim
from penstock.config import Config
from penstock.errors import PenstockError
from penstock.gold import runner as gold
from penstock.hw.accelerator import Accelerator
from penstock.hw.compact.core import CompactCore
from penstock.hw.core import Core
from penstock.hw.engine_choice import make_core
from penstock.memory_map import MemoryMap, check_images
from penstock.network import Classifier
from penstock.program import Program
from penstock.registers import Code
from penstock.sim.harness import RECORDER, Harness
from penstock.sim.records import Observed, observe, read_records, records_of_mark
from penstock.sim.runner import Build, build_recipe, run, run_folder, source_digest
from penstock.sim.waves import wave_kind

ACCELERATOR_BENCH = "penstock.sim.tb_accelerator"
CORE_BENCH = "penstock.sim.tb_core"

_WATCHDOG = 200_000  # cycles


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One program with its images, run by one LOAD and one START.

    images (N, C, H, W), uint8 or int8 as the network's input. ``latency`` and ``stalls``: see
    BusMemory.
    """

    program: Program
    images: np.ndarray
    gating: bool = True
    latency: int = 32
    stalls: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What the hardware did with one job.

    ``tensors``: every layer's output by name, (N, C, H, W) uint8 or int8, as seen in the writes to
    the activation buffers; the classifier's is ``logits``, (N, classes) int32 from the memory.
    ``counters``: the read-only registers. ``cycles``: from the accepted START to its end.
    ``layer_cycles`` (N, layers of the program): from first base fetch to last write;
    ``image_cycles`` (N,): from an image's first base fetch to the next image's. ``bytes_read``,
    ``bytes_written``: beats between START and its end, times the width of the bus. ``speed``:
    simulated cycles per second. ``errors``: writes that are missing, done twice, or belong nowhere.
    """

    code: Code
    tensors: dict[str, np.ndarray]
    logits: np.ndarray | None
    counters: dict[str, int]
    cycles: int
    layer_cycles: np.ndarray
    image_cycles: np.ndarray
    bytes_read: int
    bytes_written: int
    speed: float
    errors: list[str]


@dataclass(frozen=True)
class Comparison:
    """Hardware against golden model for one tensor or counter.

    ``first``: (image, channel, y, x, hardware, golden) of the first difference.
    """

    layer: str
    elements: int
    mismatches: int
    first: tuple[int, int, int, int, int, int] | None = None


def build_accelerator(cfg: Config, *, waves: str | None = None) -> Build:
    """The simulator of a configuration's accelerator, the core behind AXI, with its recorder.

    ``waves``: see penstock.sim.runner.build_component.
    """
    return _build("accelerator", lambda: Accelerator(cfg), cfg, waves)


def build_core(cfg: Config, *, waves: str | None = None) -> Build:
    """The simulator of a configuration's core alone with its recorder; as `build_accelerator`."""
    return _build("core", lambda: make_core(cfg), cfg, waves)


def _build(
    name: str, make: Callable[[], Core | CompactCore | Accelerator], cfg: Config, waves: str | None
) -> Build:
    sources = source_digest(penstock, penstock.hw, penstock.hw.compact, penstock.sim)
    recipe = f"{name} {dataclasses.asdict(cfg)} {sources}"
    return build_recipe(
        recipe, lambda: Harness(make(), waves=waves is not None), sources=[RECORDER], waves=waves
    )


def simulate(
    program: Program,
    images: np.ndarray,
    gating: bool = True,
    latency: int = 32,
    stalls: float = 0.0,
    seed: int = 0,
    core_alone: bool = False,
) -> Run:
    """Run one program on images, on the accelerator or on the core alone.

    Raises PenstockError for images that the network does not take, SimulationError where the
    simulation itself fails; a core that stops with an error returns a Run with its code.
    """
    job = Job(program=program, images=images, gating=gating, latency=latency, stalls=stalls)
    return simulate_many([job], seed=seed, core_alone=core_alone)[0]


def simulate_many(
    jobs: Sequence[Job],
    *,
    seed: int = 0,
    waves: Path | None = None,
    core_alone: bool = False,
    build: Build | None = None,
    bench: str | None = None,
) -> list[Run]:
    """Run jobs of one configuration one after the other, in one simulation without a reset.

    ``waves`` names a VCD or FST file to write. ``build``: that of `build_accelerator`, or of
    `build_core` with ``core_alone``, where the caller has it already. ``bench``: another one
    than the design's own, which takes the same parameters and leaves the same files
    (penstock.sim.jobs).
    """
    cfg = jobs[0].program.config
    for job in jobs:
        _check(job, cfg)
    if build is None:
        make = build_core if core_alone else build_accelerator
        build = make(cfg, waves=waves and wave_kind(waves))
    folder = run_folder("run")
    jobs_json = [write_job(job, index, folder) for index, job in enumerate(jobs)]
    run(
        build,
        bench or (CORE_BENCH if core_alone else ACCELERATOR_BENCH),
        {"jobs": jobs_json},
        tests=1,
        seed=seed,
        folder=folder,
        plusargs=["+record=records.bin"],
    )
    results = json.loads((folder / "results.json").read_text())
    records = read_records(folder / "records.bin", cfg)
    outcomes = [
        _outcome(job, result, records_of_mark(records, index + 1), folder / f"output_{index}")
        for index, (job, result) in enumerate(zip(jobs, results, strict=True))
    ]
    if waves is not None:
        shutil.move(folder / f"dump.{build.waves}", waves)
    shutil.rmtree(folder)
    return outcomes


def _check(job: Job, cfg: Config):
    network = job.program.network
    if job.program.config.hash != cfg.hash:
        raise PenstockError(
            f"program {network.name}: must be compiled for {cfg.name}, "
            f"not {job.program.config.name}"
        )
    check_images(network, job.images)


def write_job(job: Job, index: int, folder: Path) -> dict:
    """Lay program, images and room for the outputs out in a memory image; what the bench needs."""
    layout = MemoryMap(job.program, len(job.images))
    content = bytearray(layout.size)
    program, images = layout.program_bytes(), layout.input_bytes(job.images)
    content[: len(program)] = program
    content[layout.first_input : layout.first_output] = images
    (folder / f"memory_{index}").write_bytes(content)
    return {
        "memory": f"memory_{index}",
        "output": f"output_{index}",
        "registers": layout.registers(job.gating) | {"WATCHDOG": _WATCHDOG},
        "latency": job.latency,
        "stalls": job.stalls,
    }


def _outcome(job: Job, result: dict, records: np.ndarray, output: Path) -> Run:
    code, counters = Code(result["code"]), result["counters"]
    observed = Observed({}, np.zeros((0, 0), np.int64), np.zeros(0, np.int64))
    logits = None
    if code == Code.OK:
        observed = observe(records, job.program, len(job.images))
        logits = MemoryMap(job.program, len(job.images)).logits(output.read_bytes())
    cycles = counters["CYCLES"] | counters["CYCLES_HIGH"] << 32
    return Run(
        code=code,
        tensors=observed.tensors,
        logits=logits,
        counters=counters,
        cycles=cycles,
        layer_cycles=observed.layer_cycles,
        image_cycles=observed.image_cycles,
        bytes_read=result["bytes_read"],
        bytes_written=result["bytes_written"],
        speed=result["simulated_cycles"] / result["seconds"] if result["seconds"] else 0.0,
        errors=observed.errors,
    )


def compare(
    run: Run, program: Program, images: np.ndarray, gating: bool = True
) -> list[Comparison]:
    """Hold a run against the golden model: each tensor, the counters and the writes themselves."""
    golden = gold.run(program.network, images, gating)
    observed = dict(run.tensors)
    last = program.network.layers[-1]
    if isinstance(last, Classifier):
        observed[last.name] = run.logits
    comparisons = [
        _compare_tensor(name, observed.get(name), tensor) for name, tensor in golden.tensors.items()
    ]
    groups = {layer.name: getattr(layer, "groups", 1) for layer in program.network.layers}
    decisions = [made for name, made in golden.decisions.items() if groups[name] > 1]
    judged, taken = (sum(int(count(d)) for d in decisions) for count in (np.size, np.sum))
    comparisons.append(_compare_number("counter OUTPUTS", run.counters.get("OUTPUTS"), judged))
    comparisons.append(_compare_number("counter TASKS", run.counters.get("TASKS"), taken))
    comparisons.append(_compare_number("writes", len(run.errors), 0))
    return comparisons


def _compare_tensor(name: str, hardware: np.ndarray | None, golden: np.ndarray) -> Comparison:
    if hardware is None or hardware.shape != golden.shape:
        return Comparison(name, golden.size, golden.size)
    different = hardware.astype(np.int64) != golden.astype(np.int64)
    if not different.any():
        return Comparison(name, golden.size, 0)
    place = np.unravel_index(int(np.argmax(different)), golden.shape)
    values = int(hardware[place]), int(golden[place])
    place = (*(int(index) for index in place), 0, 0)[:4]
    return Comparison(name, golden.size, int(different.sum()), (*place, *values))


def _compare_number(name: str, hardware: int | None, golden: int) -> Comparison:
    if hardware == golden:
        return Comparison(name, 1, 0)
    return Comparison(name, 1, 1, (0, 0, 0, 0, -1 if hardware is None else hardware, golden))
