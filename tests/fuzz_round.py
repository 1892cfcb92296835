"""One round of fuzzing: a configuration drawn from one seed, its build, and what runs on it.

seed -> plan_round -> build -> batches of networks -> faults -> refusals -> record, failure
"""

import contextlib
import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from axi_cases import RANDOM_BENCH, RANDOM_TESTS, bench_job, random_parameters
from fuzz_cases import Case, NothingFits, features, random_case, random_config
from fuzz_refusals import check_refusals
from run_checks import fault_of
from test_core_faults import TESTS as CORE_TESTS
from test_core_faults import core_fault_parameters

from penstock.config import Config
from penstock.errors import PenstockError, SimulationError
from penstock.hw.accelerator import Accelerator
from penstock.hw.core import Core
from penstock.network import Classifier
from penstock.sim.harness import RECORDER, Harness
from penstock.sim.runner import Build, build_component, run, run_folder
from penstock.sim.simulate import Job, simulate_many

CYCLES, CASES = 1_200_000, 100
"""A round's networks: at most so many cycles without gating, and so many networks."""

BATCH_CYCLES, BATCH_CASES = 300_000, 20
"""The same of one batch, whose jobs run one after the other without reset."""

LIMIT = 600
"""Seconds in which a simulation must end: a hang."""

FAULT_CASES = 1000
"""Number of the first case that is drawn for the faults."""

CLIENTS_BENCH = "penstock.sim.tb_axi_networks"


@dataclass(frozen=True, kw_only=True)
class Design:
    """What is built, and the bench that runs jobs on it; None: the design's own."""

    config: Config
    core_alone: bool
    bench: str | None = None

    @property
    def name(self) -> str:
        """For people."""
        kind = "core" if self.core_alone else f"AXI {self.config.axi_bits}"
        return f"{self.config.rows} x {self.config.lanes} {self.config.weights}, {kind}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a round's seed determines, besides its cases."""

    seed: int
    design: Design
    faults: bool
    redrawn: int  # configurations that no network fitted


@dataclass(frozen=True, kw_only=True, eq=False)
class Failure:
    """What went wrong, and with what.

    ``jobs``: those of one simulation up to the one that failed, which is number ``case`` of the
    round; none where no job failed.
    """

    seed: int
    kind: str
    text: str
    design: Design
    case: int | None = None
    jobs: Sequence[Job] = ()
    simulation_seed: int = 0


def plan_round(seed: int) -> Plan:
    """Configuration and design of a seed; networks fit the configuration."""
    rng = np.random.default_rng(seed)
    for redrawn in range(100):
        config = random_config(rng)
        core_alone = bool(rng.random() < 0.35)
        bench = CLIENTS_BENCH if not core_alone and rng.random() < 0.4 else None
        faults = bool(rng.random() < 0.5)
        try:
            random_case(seed, 0, config)
        except NothingFits:
            continue
        except Exception:  # met again, and reported, when the round runs
            pass
        design = Design(config=config, core_alone=core_alone, bench=bench)
        return Plan(seed=seed, design=design, faults=faults, redrawn=redrawn)
    raise AssertionError(f"seed {seed}: no configuration holds a network")


def run_round(seed: int, only: int | None = None) -> tuple[dict, Failure | None]:
    """Run the round of a seed, or one case of it alone; see `run_plan`."""
    return run_plan(plan_round(seed), only)


def run_plan(plan: Plan, only: int | None = None) -> tuple[dict, Failure | None]:
    """Run a round up to its first failure; what ran, for the records, and the failure."""
    began, worked = time.monotonic(), processor_seconds()
    tally = Counter({"redrawn configurations": plan.redrawn})
    found, failure, building = Counter(), None, 0.0
    try:
        with _built(plan) as build:
            building = time.monotonic() - began
            _run_parts(plan, build, tally, found, only)
    except RoundFailed as error:
        failure = error.failure
    record = {
        "seed": plan.seed,
        "design": plan.design.name,
        "config": dataclasses.asdict(plan.design.config),
        "bench": "clients" if plan.design.bench else "models",
        "seconds": round(time.monotonic() - began, 1),
        "building": round(building, 1),
        "processor": round(processor_seconds() - worked, 1),
        "counts": dict(sorted(tally.items())),
        "features": dict(sorted(found.items())),
    }
    return record, failure


def processor_seconds() -> float:
    """Of this process and those that it waited for."""
    return sum(os.times()[:4])


class RoundFailed(Exception):
    """Ends a round."""

    def __init__(self, failure: Failure):
        super().__init__(failure.kind)
        self.failure = failure


@contextlib.contextmanager
def _built(plan: Plan) -> Iterator[Build]:
    """As `built`; what a build raises ends the round."""
    with contextlib.ExitStack() as stack:
        try:
            build = stack.enter_context(built(plan.design))
        except Exception:
            raise failed(plan, "build", last_lines(traceback.format_exc())) from None
        yield build


def _run_parts(plan: Plan, build: Build, tally: Counter, found: Counter, only: int | None):
    if only is not None:
        return run_batch(plan, build, [case_of(plan, only)], tally, found)
    for batch in batches(plan):
        run_batch(plan, build, batch, tally, found)
    if plan.faults:
        run_faults(plan, build, tally)
    try:
        ends = check_refusals(np.random.default_rng([plan.seed, 0, 1]), 4)
    except Exception:
        raise failed(plan, "refusals", last_lines(traceback.format_exc())) from None
    tally["refusals"] += sum(ends.values())


def failed(plan: Plan, kind: str, text: str, **fields) -> RoundFailed:
    """A failure of this round, to be raised."""
    fields = {"seed": plan.seed, "kind": kind, "text": text, "design": plan.design} | fields
    return RoundFailed(Failure(**fields))


def last_lines(text: str) -> str:
    """The end of a traceback or log, without its command, whose build will be gone."""
    lines = [line for line in text.strip().splitlines() if not line.startswith("replay:")]
    return "\n".join(lines[-12:])


def case_of(plan: Plan, index: int, classified: bool = False) -> Case:
    """Case ``index`` of a round. Raises RoundFailed where the compiler raised what it must not."""
    try:
        return random_case(plan.seed, index, plan.design.config, classified)
    except NothingFits:
        raise
    except Exception:
        text = last_lines(traceback.format_exc())
        raise failed(plan, "compiler", text, case=index) from None


def batches(plan: Plan) -> Iterator[list[Case]]:
    """The round's cases, in batches."""
    batch, spent, total = [], 0, 0
    for index in range(CASES):
        with contextlib.suppress(NothingFits):
            case = case_of(plan, index)
            batch.append(case)
            spent += case.cycles
            total += case.cycles
        if batch and (spent > BATCH_CYCLES or len(batch) == BATCH_CASES or total > CYCLES):
            yield batch
            batch, spent = [], 0
        if total > CYCLES:
            return
    if batch:
        yield batch


@contextlib.contextmanager
def built(design: Design) -> Iterator[Build]:
    """The simulator of a design.

    A new one of a random configuration is deleted behind its use, but not behind a failure: what
    shrinks or replays it finds it.
    """
    make = Core if design.core_alone else Accelerator
    build = build_component(Harness(make(design.config)), sources=[RECORDER], jobs=1)
    yield build
    if not build.cached and design.config.name == "fuzz":
        shutil.rmtree(build.path)
        build.path.with_name(f"{build.path.name}.lock").unlink(missing_ok=True)


def run_batch(plan: Plan, build: Build, batch: list[Case], tally: Counter, found: Counter):
    """Run and check the jobs of a batch. Raises RoundFailed."""
    jobs = [case.job for case in batch]
    seed = (1000 * plan.seed + batch[0].index) % 2**31  # of the stalls
    fault = first_fault(plan.design, build, jobs, seed)
    if fault is not None:
        index, kind, text = fault
        some = {"jobs": jobs[: index + 1], "simulation_seed": seed}
        raise failed(plan, kind, text, case=batch[index].index, **some)
    tally["networks"] += len(jobs)
    tally["images"] += sum(len(job.images) for job in jobs)
    tally["refused networks"] += sum(case.refused for case in batch)
    for job in jobs:
        found += features(job)


def first_fault(
    design: Design, build: Build, jobs: Sequence[Job], seed: int
) -> tuple[int, str, str] | None:
    """(job, kind, text) of the first run that is wrong; None where all are right.

    Where the simulation itself fails, the last job is named.
    """
    options = {"core_alone": design.core_alone, "build": build, "bench": design.bench}
    last = len(jobs) - 1
    try:
        runs = within(LIMIT, simulate_many, jobs, seed=seed, **options)
        for index, (job, each) in enumerate(zip(jobs, runs, strict=True)):
            fault = fault_of(job, each)
            if fault is not None:
                return index, *fault
    except TimeoutError:
        return last, "hang", f"no end within {LIMIT} s"
    except SimulationError as error:
        return last, "simulation", last_lines(str(error))
    except Exception:
        return last, "exception", last_lines(traceback.format_exc())
    return None


def within(seconds: float, function: Callable, *arguments, **options):
    """What the function returns; it runs in processes of its own, ended when time is up.

    Raises TimeoutError then, and whatever the function raised.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work():
        os.setsid()
        try:
            sender.send((function(*arguments, **options), None))
        except Exception as error:
            sender.send((None, error))

    process = context.Process(target=work)
    process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise TimeoutError
        value, error = receiver.recv()
    except EOFError:
        raise SimulationError("the process of the simulation died") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
    if error is not None:
        raise error
    return value


def run_faults(plan: Plan, build: Build, tally: Counter):
    """Corrupted programs, random accesses, aborts, failing words, a dead bus. Raises RoundFailed.

    Each is followed by a good program whose result must be right.
    """
    cases = _classified_cases(plan, 1 if plan.design.core_alone else 2)
    if cases is None:
        tally["no case for faults"] += 1
        return
    folder = run_folder(f"fuzz-{plan.seed}")
    bench = _core_faults if plan.design.core_alone else _axi_faults
    try:
        within(LIMIT, bench, plan, build, cases, folder)
    except TimeoutError:
        raise failed(plan, "hang", f"faults: no end within {LIMIT} s, {folder}") from None
    except Exception as error:
        raise failed(plan, "faults", last_lines(f"{type(error).__name__}: {error}")) from None
    if plan.design.core_alone:
        tally["core faults"] += CORE_FAULTS
    for name in ("accesses", "corruptions", "faults"):
        if (folder / f"{name}.json").exists():
            tally[name] += _total(json.loads((folder / f"{name}.json").read_text()))
    shutil.rmtree(folder)


CORE_FAULTS = 30
ACCESSES = PROGRAMS = 100
FAULTS = 24


def _core_faults(plan: Plan, build: Build, cases: list[Case], folder: Path):
    job = cases[0].job
    parameters = core_fault_parameters(job.program, job.images, folder, build)
    bench = "penstock.sim.tb_core_faults"
    run(build, bench, parameters, tests=CORE_TESTS, seed=plan.seed % 2**31, folder=folder)


def _axi_faults(plan: Plan, build: Build, cases: list[Case], folder: Path):
    config, rng = plan.design.config, np.random.default_rng([plan.seed, 0, 2])
    jobs = [
        bench_job(case.job.program, case.job.images, folder, index)
        for index, case in enumerate(cases)
    ]
    parameters = random_parameters(
        config,
        jobs,
        latency=(0, int(rng.integers(0, 40))),
        stalls=float(rng.choice([0.0, 0.2, 0.5])),
        accesses=ACCESSES,
        rounds=4,
        programs=PROGRAMS,
        faults=FAULTS,
    )
    seed = plan.seed % 2**31
    run(build, RANDOM_BENCH, parameters, tests=RANDOM_TESTS, seed=seed, folder=folder)


def _total(counts: dict | list) -> int:
    """Of a bench's counts by kind."""
    if isinstance(counts, dict):
        return sum(count for name, count in counts.items() if not name.startswith("ABORT"))
    return sum(count for *_, count in counts)


def _classified_cases(plan: Plan, count: int) -> list[Case] | None:
    """Cases of middle size that end with a classifier, so that memory shows what was computed."""
    cases, least = [], 240 if plan.design.core_alone else 80
    for index in range(FAULT_CASES, FAULT_CASES + 60):
        try:
            case = case_of(plan, index, classified=True)
        except NothingFits:
            continue
        program = case.job.program
        fits = 300 <= case.cycles <= 12_000 and least <= len(program.to_words()) <= 4000
        if fits and len(case.job.images) > 1 and isinstance(program.network.layers[-1], Classifier):
            cases.append(case)
            if len(cases) == count:
                return cases
    return None


def compiles(function: Callable, *arguments):
    """What a function returns, or None where it refuses by PenstockError."""
    try:
        return function(*arguments)
    except PenstockError:
        return None
