"""Shrinks a failing case: fewer jobs, images, layers, channels, pixels, smaller numbers.

Each step is kept if a fault of the same kind is still seen.
"""

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fuzz_round import Design, Failure, built, compiles, first_fault, processor_seconds

from penstock.compiler import compile_network
from penstock.config import Config
from penstock.gold import runner as gold
from penstock.network import INPUT, Classifier, Convolution, Network, Pool, Shape
from penstock.program import load_program, save_program
from penstock.sim.simulate import Job

SECONDS = 150
"""Processor time for one failure, without that of a second build."""

TOGETHER = 12
"""Smaller cases in one simulation."""

UNCLEAR = "hang", "simulation", "exception"
"""Kinds of failure that do not tell at which job."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """Jobs of one simulation, of which the last one fails."""

    design: Design
    jobs: Sequence[Job]
    simulation_seed: int
    text: str = ""  # the fault

    @property
    def job(self) -> Job:
        """The one that fails."""
        return self.jobs[-1]

    def facts(self) -> dict[str, int | float | bool]:
        """How large it is."""
        job = self.job
        layers = job.program.network.layers
        return {
            "jobs": len(self.jobs),
            "images": len(job.images),
            "layers": len(layers),
            "largest channels": max(_channels(job.program.network)),
            "pixels": job.images.shape[2] * job.images.shape[3],
            "stalls": job.stalls,
            "gating": job.gating,
            "core alone": self.design.core_alone,
        }


def _channels(network: Network) -> list[int]:
    return [shape.channels for shape in network.shapes().values()]


class Shrinker:
    """Tries smaller subjects as long as there is processor time."""

    def __init__(self, kind: str, seconds: float = SECONDS):
        self.kind = kind
        self.end = processor_seconds() + seconds
        self.tried = 0

    def shrink(self, subject: Subject) -> Subject | None:
        """The smallest subject found; None where the fault is not seen again."""
        with built(subject.design) as build:
            subject = self._fewer_jobs(subject, build)
            if subject is None:
                return None
            subject = self._to_the_end(subject, build)
        simple = Design(config=subject.design.config, core_alone=True)
        if simple == subject.design or processor_seconds() > self.end:
            return subject
        began = processor_seconds()
        with built(simple) as build:
            self.end += processor_seconds() - began
            alone = dataclasses.replace(subject, design=simple)
            smaller = self._kept(alone, build)
            return subject if smaller is None else self._to_the_end(smaller, build)

    def _kept(self, subject: Subject, build) -> Subject | None:
        """The subject with its fault, where that is of the same kind."""
        self.tried += 1
        fault = first_fault(subject.design, build, subject.jobs, subject.simulation_seed)
        if fault is None or fault[1] != self.kind or fault[0] != len(subject.jobs) - 1:
            return None
        return dataclasses.replace(subject, text=fault[2])

    def _fewer_jobs(self, subject: Subject, build) -> Subject | None:
        """The last job alone, else the shortest tail that fails, else all.

        Where the simulation itself fails nobody knows at which job: then any one alone will do.
        """
        jobs = subject.jobs
        tails = [jobs[-length:] for length in range(1, len(jobs) + 1)]
        if self.kind in UNCLEAR:
            tails = [[job] for job in reversed(jobs)] + tails[1:]
        for tail in tails:
            if processor_seconds() > self.end:
                break
            kept = self._kept(dataclasses.replace(subject, jobs=tail), build)
            if kept is not None:
                return kept
        return self._kept(subject, build)

    def _to_the_end(self, subject: Subject, build) -> Subject:
        """Each kind of step as long as it helps, then all again, until none helps."""
        before = None
        while before is not subject:
            before = subject
            for step in STEPS:
                subject = self._steps(subject, build, step)
        return subject

    def _steps(self, subject: Subject, build, step: Callable) -> Subject:
        """One kind of step as long as it helps: several tried in one simulation, if that is right.

        What was wrong behind others must be so alone too; else one is tried at a time.
        """
        if len(subject.jobs) == 1 and self.kind not in UNCLEAR:
            smaller = self._repeated(subject, build, step, TOGETHER)
            if smaller is subject:
                return subject
            kept = self._kept(smaller, build)
            if kept is not None:
                return kept
        return self._repeated(subject, build, step, 1)

    def _repeated(self, subject: Subject, build, step: Callable, together: int) -> Subject:
        before = None
        while before is not subject:
            before = subject
            candidates = step(subject.job)
            while batch := list(itertools.islice(candidates, together)):
                if processor_seconds() > self.end:
                    return subject
                self.tried += 1
                jobs = [*subject.jobs[:-1], *batch]
                options = subject.design, build, jobs, subject.simulation_seed
                fault = first_fault(*options)
                if (
                    fault is not None
                    and fault[1] == self.kind
                    and fault[0] >= len(jobs) - len(batch)
                ):
                    jobs = [*subject.jobs[:-1], jobs[fault[0]]]
                    subject = dataclasses.replace(subject, jobs=jobs, text=fault[2])
                    break
        return subject


def fewer_images(job: Job) -> Iterator[Job]:
    """One, half of them, or one less."""
    count = len(job.images)
    parts = [slice(number, number + 1) for number in range(count)]
    parts += [slice(count - count // 2), slice(count - 1), slice(1, count)]
    if count > 1:
        for part in parts:
            yield dataclasses.replace(job, images=job.images[part])


def calmer(job: Job) -> Iterator[Job]:
    """No stalls, no latency, no gating."""
    if job.stalls:
        yield dataclasses.replace(job, stalls=0.0)
    if job.latency != 1:
        yield dataclasses.replace(job, latency=1)
    if job.gating and any(getattr(layer, "groups", 1) > 1 for layer in job.program.network.layers):
        yield dataclasses.replace(job, gating=False)


def simpler_images(job: Job) -> Iterator[Job]:
    """Half of the values 0, or values of 0 and 1."""
    for images in _simpler_images(job.images):
        yield dataclasses.replace(job, images=images)


def on_networks(step: Callable) -> Callable[[Job], Iterator[Job]]:
    """A step on networks as one on jobs: those that keep the rules and fit."""

    def jobs(job: Job) -> Iterator[Job]:
        for make in step(job):
            made = compiles(make)
            program = made and compiles(compile_network, made[0], job.program.config)
            if program:
                yield dataclasses.replace(job, program=program, images=made[1])

    return jobs


Makers = Iterator[Callable[[], tuple[Network, np.ndarray]]]


def _with(network: Network, layers, shape: Shape | None = None) -> Network:
    return dataclasses.replace(network, layers=tuple(layers), input=shape or network.input)


def _fewer_layers(job: Job) -> Makers:
    """One layer alone on what it reads; parts; all but one."""
    network, images = job.program.network, job.images
    layers = network.layers
    if len(layers) == 1:
        return
    tensors = gold.run(network, images, job.gating).tensors
    shapes = network.shapes()
    for length in range(1, len(layers)):  # from the end on, one, two, ... layers
        first = len(layers) - length
        source = layers[first].source

        def tail(first=first, source=source):
            renamed = [_reading(layer, source, INPUT) for layer in layers[first:]]
            return _with(network, renamed, shapes[source]), tensors[source]

        yield tail
    for length in range(1, len(layers)):
        yield lambda length=length: (_with(network, layers[:length]), images)
    for index, gone in enumerate(layers):

        def without(index=index, gone=gone):
            left = [*layers[:index], *layers[index + 1 :]]
            return _with(network, [_reading(each, gone.name, gone.source) for each in left]), images

        yield without


def _reading(layer, old: str, new: str):
    """The layer with another source in the place of ``old``."""
    if layer.source == old:
        layer = dataclasses.replace(layer, source=new)
    residual = getattr(layer, "residual", None)
    if residual is not None and residual.source == old:
        layer = dataclasses.replace(layer, residual=dataclasses.replace(residual, source=new))
    return layer


def _smaller_maps(job: Job) -> Makers:
    """Images cut on any side, to the half and by one row or column."""
    network, images = job.program.network, job.images
    height, width = images.shape[2:]
    cuts = [(slice(0, keep), slice(None)) for keep in _less(height)]
    cuts += [(slice(height - keep, None), slice(None)) for keep in _less(height)]
    cuts += [(slice(None), slice(0, keep)) for keep in _less(width)]
    cuts += [(slice(None), slice(width - keep, None)) for keep in _less(width)]
    for rows, columns in cuts:

        def cut(rows=rows, columns=columns):
            left = images[:, :, rows, columns]
            sides = {"height": left.shape[2], "width": left.shape[3]}
            return _with(network, network.layers, dataclasses.replace(network.input, **sides)), left

        yield cut


def _less(size: int) -> list[int]:
    """Sizes to try in the place of this one."""
    return sorted({kept for kept in (1, 2, size // 2, size - 1) if 0 < kept < size})


def _fewer_channels(job: Job) -> Makers:
    """A tensor's first or last channels alone, in the layer that makes it and those that read it.

    Layers with groups take what is left only if the groups still divide it; a smaller number of
    groups is tried with it.
    """
    network, images = job.program.network, job.images
    shapes = network.shapes()
    for name, shape in shapes.items():
        for kept in _less(shape.channels):
            for part in (slice(0, kept), slice(shape.channels - kept, None)):
                for groups in (None, 2, 1):
                    yield lambda name=name, part=part, groups=groups: _sliced(
                        network, images, name, part, groups
                    )


def _sliced(network: Network, images: np.ndarray, name: str, part: slice, groups: int | None):
    names, layers = {name}, []
    shape = network.input
    if name == INPUT:
        images = images[:, part]
        shape = dataclasses.replace(shape, channels=images.shape[1])
    for layer in network.layers:
        if layer.name in names and not isinstance(layer, Pool):
            layer = _fields(layer, "weights multipliers bias thresholds", part)
        if layer.source in names:
            if isinstance(layer, Pool):
                names.add(layer.name)
            else:
                layer = dataclasses.replace(layer, weights=layer.weights[:, part])
        if groups is not None and getattr(layer, "groups", 1) > groups:
            thresholds = layer.thresholds if groups > 1 else None
            layer = dataclasses.replace(layer, groups=groups, thresholds=thresholds)
        layers.append(layer)
    return _with(network, layers, shape), images


def _fields(layer, names: str, part: slice):
    arrays = {name: getattr(layer, name, None) for name in names.split()}
    return dataclasses.replace(
        layer, **{name: array[part] for name, array in arrays.items() if array is not None}
    )


def _simpler_layers(job: Job) -> Makers:
    """Layers without residual, gate, stride or padding; with smaller numbers."""
    network, images = job.program.network, job.images
    for index, layer in enumerate(network.layers):
        for simpler in _simpler(layer):
            layers = [*network.layers]
            layers[index] = simpler
            yield lambda layers=layers: (_with(network, layers), images)


def _simpler(layer) -> Iterator:
    """Layers, which may break a rule elsewhere in the network."""
    changes = []
    if isinstance(layer, Convolution):
        if layer.residual is not None:
            changes += [{"residual": None, "relu_before_add": False}]
        if layer.relu_before_add:
            changes += [{"relu_before_add": False}]
        if layer.thresholds is not None:
            changes += [{"thresholds": None, "groups": 1}]
        changes += [{"groups": groups} for groups in _less(layer.groups)]
        kernel = layer.weights.shape[2]
        if kernel == 3:
            changes += [{"weights": layer.weights[:, :, 1:2, 1:2].copy(), "padding": (0,) * 4}]
        changes += [{"multipliers": np.ones_like(layer.multipliers), "shift": 1}]
    if isinstance(layer, Convolution | Pool):
        changes += [{"stride": 1}] * (layer.stride > 1)
        changes += [{"padding": (0,) * 4}] * any(layer.padding)
    if isinstance(layer, Convolution | Classifier):
        changes += [{"bias": np.zeros_like(layer.bias)}] * bool(layer.bias.any())
        ones = layer.weights.clip(-1, 1)
        if (ones != layer.weights).any():
            changes += [{"weights": ones}, {"weights": layer.weights // 8}]
        flat = layer.weights.reshape(-1)
        used = np.flatnonzero(flat)
        for part in (used[: len(used) // 2], used[len(used) // 2 :]):
            if len(used) > 1:
                left = flat.copy()
                left[part] = 0
                changes += [{"weights": left.reshape(layer.weights.shape)}]
    for change in changes:
        same = all(np.array_equal(getattr(layer, name), new) for name, new in change.items())
        if not same:
            yield dataclasses.replace(layer, **change)


def _simpler_images(images: np.ndarray) -> Iterator[np.ndarray]:
    """Half of the values 0, or values of 0 and 1."""
    flat = images.reshape(-1)
    used = np.flatnonzero(flat)
    if len(used) > 1:
        for part in (used[: len(used) // 2], used[len(used) // 2 :]):
            left = flat.copy()
            left[part] = 0
            yield left.reshape(images.shape)
    ones = images.clip(-1 if images.dtype == np.int8 else 0, 1)
    if (ones != images).any():
        yield ones


STEPS = (
    fewer_images,
    calmer,
    *map(on_networks, (_fewer_layers, _smaller_maps, _fewer_channels, _simpler_layers)),
    simpler_images,
)


def shrink(failure: Failure, seconds: float = SECONDS) -> Subject | None:
    """The smallest case found that fails as this one; None where it does not fail again."""
    subject = Subject(
        design=failure.design,
        jobs=list(failure.jobs),
        simulation_seed=failure.simulation_seed,
        text=failure.text,
    )
    return Shrinker(failure.kind, seconds).shrink(subject)


def save_subject(subject: Subject, kind: str, folder: Path):
    """Programs, images and all else that `load_subject` takes to run it again."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    for index, job in enumerate(subject.jobs):
        save_program(job.program, folder / f"program_{index}.bin")
        np.save(folder / f"images_{index}.npy", job.images)
        jobs.append({"gating": job.gating, "latency": job.latency, "stalls": job.stalls})
    design = subject.design
    content = {
        "replay": f"python tests/fuzz.py --replay {folder}",
        "kind": kind,
        "fault": subject.text,
        "config": dataclasses.asdict(design.config),
        "core_alone": design.core_alone,
        "bench": design.bench,
        "simulation_seed": subject.simulation_seed,
        "size": subject.facts(),
        "jobs": jobs,
    }
    (folder / "case.json").write_text(json.dumps(content, indent=2) + "\n")


def load_subject(folder: Path) -> Subject:
    """What `save_subject` wrote."""
    content = json.loads((folder / "case.json").read_text())
    config = Config(**content["config"])
    jobs = [
        Job(
            program=load_program(folder / f"program_{index}.bin", config),
            images=np.load(folder / f"images_{index}.npy"),
            **options,
        )
        for index, options in enumerate(content["jobs"])
    ]
    design = Design(config=config, core_alone=content["core_alone"], bench=content["bench"])
    return Subject(design=design, jobs=jobs, simulation_seed=content["simulation_seed"])
