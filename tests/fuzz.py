"""Fuzzing: random networks on random configurations, hardware against golden model.

    python tests/fuzz.py --time 120 --json build/fuzz/records.json
    python tests/fuzz.py --replay 17        round 17; 17:3 its case 3 alone; a folder: a shrunk case
    python tests/fuzz.py --table docs/fuzzing.md --json build/fuzz/records.json

Round k of a run with --seed S has the seed S + k, which determines its configuration and all of its
cases. A failure is shrunk, and kept in build/fuzz/SEED. Exit code 1 tells of failures.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import datetime
import json
import multiprocessing
import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fuzz_round import Failure, built, first_fault, run_round
from fuzz_shrink import load_subject, save_subject, shrink
from fuzz_table import refreshed
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from penstock.config import Config
from penstock.network import write_whole

CASES = "networks", "images", "corruptions", "accesses", "faults", "core faults", "refusals"
"""Counts of a record that are shown."""

SHRUNK = 3
"""Failures of a run that are shrunk; more are likely to have the same cause."""


def main(arguments: list[str] | None = None) -> int:
    """Run, replay or write the page; returns the exit code."""
    options = _options(arguments)
    if options.table:
        return _write_table(options.table, options.json)
    if options.replay:
        return replay(options.replay)
    console = Console()
    run = fuzz(options.seed, options.time, options.jobs, console)
    if options.json:
        _append(options.json, run)
    return 1 if run["failures"] else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--time", type=float, metavar="SECONDS", help="run rounds for so long")
    what.add_argument("--replay", metavar="SEED[:CASE]|FOLDER", help="run a round or case again")
    what.add_argument("--table", type=Path, metavar="PAGE", help="write what --json recorded")
    parser.add_argument("--seed", type=int, default=0, help="of the first round; default: 0")
    parser.add_argument("--jobs", type=int, default=1, help="rounds side by side; default: 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="records of runs, added to")
    options = parser.parse_args(arguments)
    if options.table and not options.json:
        parser.error("--table: needs --json, the records")
    return options


def fuzz(seed: int, seconds: float, jobs: int, console: Console) -> dict:
    """Run rounds until the time is over, or an interrupt comes; what ran, as it is recorded.

    A round that is under way when the time is over ends.
    """
    began, date = time.monotonic(), datetime.datetime.now().astimezone()
    records, failures = [], []
    with _shown(seconds, console) as show, contextlib.suppress(KeyboardInterrupt):
        for record, failure in _rounds(seed, seconds, jobs):
            records.append(record)
            show(records, failures, record)
            if failure is not None:
                failures.append(report_failure(failure, console, len(failures) < SHRUNK))
    return {
        "date": date.isoformat(timespec="seconds"),
        "commit": commit(),
        "seeds": [seed, seed + len(records)],
        "seconds": round(time.monotonic() - began, 1),
        "jobs": jobs,
        "rounds": sorted(records, key=lambda record: record["seed"]),
        "failures": failures,
    }


def _rounds(seed: int, seconds: float, jobs: int) -> Iterator[tuple[dict, Failure | None]]:
    """What each round gives, as they end; none begins when the time is over."""
    end = time.monotonic() + seconds
    if jobs == 1:
        while time.monotonic() < end:
            yield run_round(seed)
            seed += 1
        return
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool:
        running = set()
        while running or time.monotonic() < end:
            while len(running) < jobs and time.monotonic() < end:
                running.add(pool.submit(run_round, seed))
                seed += 1
            ended, running = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for each in ended:
                yield each.result()


@contextlib.contextmanager
def _shown(seconds: float, console: Console) -> Iterator:
    """A function that shows the state after each round: one line that changes, or plain lines."""
    began = time.monotonic()

    def line(records: list[dict], failures: list) -> str:
        total = sum((Counter(record["counts"]) for record in records), Counter())
        counts = ", ".join(f"{total[name]:,} {name}" for name in CASES if total[name])
        return f"{len(records)} rounds, {len(failures)} failures: {counts}"

    if not console.is_terminal:

        def show(records, failures, record):
            left = max(0, seconds - (time.monotonic() - began))
            console.print(
                f"seed {record['seed']}, {record['design']}, {record['seconds']:.0f} s; "
                f"{line(records, failures)}; {left:.0f} s left",
                soft_wrap=True,
                highlight=False,
            )

        yield show
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("first round", total=seconds)

        def show(records, failures, record):
            spent = min(seconds, time.monotonic() - began)
            bar.update(task, completed=spent, description=line(records, failures))

        yield show


def report_failure(failure: Failure, console: Console, shrinking: bool = True) -> dict:
    """Print a failure, shrink it, keep what is left; what is recorded of it."""
    say = _plain(console)
    command = f"python tests/fuzz.py --replay {failure.seed}"
    say(f"\nFAILED: {failure.kind}, seed {failure.seed}, {failure.design.name}")
    say(f"configuration: {_differences(failure.design.config)}")
    if failure.case is not None:
        say(f"case {failure.case} of the round" + _network_line(failure))
    say(f"{failure.text}\nreplay: {command}")
    recorded = {
        "seed": failure.seed,
        "case": failure.case,
        "kind": failure.kind,
        "text": failure.text,
        "replay": command,
    }
    if not failure.jobs or not shrinking:
        return recorded
    say("shrinking ...")
    subject = shrink(failure)
    if subject is None:
        say("not seen again: only the whole round may show it")
        return recorded
    folder = fuzz_folder() / str(failure.seed)
    save_subject(subject, failure.kind, folder)
    relative = os.path.relpath(folder)
    recorded |= {"shrunk": f"python tests/fuzz.py --replay {relative}", "size": subject.facts()}
    say(f"shrunk to {recorded['size']}\n{subject.text}\nreplay: {recorded['shrunk']}")
    return recorded


def fuzz_folder() -> Path:
    """Where shrunk cases are kept."""
    return Path(os.environ.get("PENSTOCK_BUILD", "build")) / "fuzz"


def _plain(console: Console):
    return lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)


def _differences(config: Config) -> str:
    """Fields that are not the default's."""
    default = dataclasses.asdict(Config())
    fields = dataclasses.asdict(config).items()
    return ", ".join(f"{name}={value}" for name, value in fields if value != default[name])


def _network_line(failure: Failure) -> str:
    """The failing job in one line."""
    if not failure.jobs:
        return ""
    job = failure.jobs[-1]
    shape, layers = job.program.network.input, job.program.network.layers
    return (
        f", network of {len(layers)} layers on {shape.channels}x{shape.height}x{shape.width}, "
        f"{len(job.images)} images, gating {'on' if job.gating else 'off'}, "
        f"latency {job.latency}, stalls {job.stalls:g}"
    )


def replay(what: str) -> int:
    """Run a round, one case of it, or a kept case again; returns the exit code."""
    say = _plain(Console())
    if (Path(what) / "case.json").exists():
        subject = load_subject(Path(what))
        with built(subject.design) as build:
            fault = first_fault(subject.design, build, subject.jobs, subject.simulation_seed)
        say("no fault" if fault is None else f"job {fault[0]}, {fault[1]}: {fault[2]}")
        return 0 if fault is None else 1
    seed, _, case = what.partition(":")
    record, failure = run_round(int(seed), int(case) if case else None)
    say(f"seed {seed}, {record['design']}, {record['seconds']:.0f} s: {record['counts']}")
    if failure is not None:
        report_failure(failure, Console())
    return 0 if failure is None else 1


def commit() -> str:
    """The commit that the working tree stands on, with "-dirty" where it differs."""
    command = shlex.split("git describe --always --dirty --abbrev=12 --exclude=*")
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False
    )
    return done.stdout.strip() or "unknown"


def _append(path: Path, run: dict):
    """Add a run to a file of records, which appears whole or stays as it was."""
    runs = json.loads(path.read_text()) if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps([*runs, run], indent=1) + "\n").encode())


def _write_table(page: Path, records: Path) -> int:
    """Write the page anew; what stands in it by hand remains."""
    text = page.read_text() if page.exists() else None
    page.write_text(refreshed(text, json.loads(records.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
