"""A short slice of the fuzzing, and proof that it finds a fault and shrinks the case."""

import dataclasses
import json
from collections import Counter

import fuzz
import numpy as np
import pytest
from amaranth.hdl import Module
from fuzz_cases import random_config
from fuzz_refusals import check_refusals
from fuzz_round import Design, Failure, Plan, batches, case_of, plan_round, run_plan, run_round
from fuzz_shrink import load_subject, shrink
from fuzz_table import refreshed
from rich.console import Console

from penstock.config import Config
from penstock.hw.gate import GateComparator

SLICE = (8,)
"""Seeds of the rounds that `make test` runs: two minutes of one core, half of it the build."""

FLOOR = {
    "networks": 90,
    "images": 250,
    "corruptions": 100,
    "accesses": 100,
    "faults": 24,
    "refusals": 20,
}
"""Cases that the slice has at least."""

SMALL = Config(
    name="planted",
    rows=1,
    word=1,
    accumulator_bits=24,
    map_words=256,
    map_side=16,
    weight_words=2048,
    channels=128,
    program_words=512,
    queue_groups=8,
    pool_channels=4,
)


def test_a_slice_has_no_failure():
    counts = Counter()
    for seed in SLICE:
        record, failure = run_round(seed)
        print(f"\n{record['design']}, {record['seconds']} s, {record['processor']} s of work")
        assert failure is None, f"python tests/fuzz.py --replay {seed}: {failure.text}"
        counts += Counter(record["counts"])
    print(dict(counts))
    assert all(counts[name] >= least for name, least in FLOOR.items())


def keep_ties(self, platform):
    """The gate comparator with the wrong sign."""
    m = Module()
    for row in range(self.cfg.rows):
        m.d.sync += self.keep[row].eq(
            self.asked[row] & (self.partial_sums[row] >= self.thresholds[row])
        )
    return m


def test_a_planted_fault_is_found_and_shrunk(monkeypatch, tmp_path):
    monkeypatch.setattr(GateComparator, "elaborate", keep_ties)
    monkeypatch.setenv("COLUMNS", "300")
    design = Design(config=SMALL, core_alone=True)
    _, failure = run_plan(Plan(seed=1, design=design, faults=False, redrawn=0))
    assert failure.kind == "values" and failure.case is not None
    subject = shrink(failure, seconds=40)
    size = subject.facts()
    print(size, subject.text)
    assert size["jobs"] == size["images"] == 1 and size["layers"] <= 2
    assert size["stalls"] == 0 and size["gating"]
    fuzz.save_subject(subject, failure.kind, tmp_path)
    assert load_subject(tmp_path).facts() == size
    assert fuzz.replay(str(tmp_path)) == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_a_seed_determines_its_round(seed):
    plan = plan_round(seed)
    assert plan == plan_round(seed)
    sizes = [[(case.index, case.cycles) for case in batch] for batch in batches(plan)]
    assert sizes == [[(case.index, case.cycles) for case in batch] for batch in batches(plan)]
    one, other = (case_of(plan, 3).job for _ in range(2))
    assert np.array_equal(one.program.to_words(), other.program.to_words())
    assert np.array_equal(one.images, other.images)
    assert (one.gating, one.latency, one.stalls) == (other.gating, other.latency, other.stalls)


def test_configurations_vary():
    """Every field of a gated array varies; every number of rows comes, and every width of words."""
    configs = [random_config(np.random.default_rng(seed)) for seed in range(300)]
    fixed = {"target", "engine", "gating"}
    for field in dataclasses.fields(Config):
        values = {getattr(config, field.name) for config in configs}
        assert len(values) > 1 or field.name in fixed, field.name
    assert {config.rows for config in configs} == {1, 2, 3, 4, 6, 9}
    assert {config.word for config in configs} == {1, 2, 4, 8, 16}
    assert {config.target for config in configs} == {"generic"}
    small = sum(config.multipliers <= 81 for config in configs)
    assert 0.7 * len(configs) < small < len(configs)


def test_refusals_are_of_all_kinds():
    ends = check_refusals(np.random.default_rng(1), 20)
    kinds = {kind for kind, _ in ends}
    assert sum(ends.values()) == 100 and len(kinds) == 5
    assert {end for _, end in ends} == {"taken", "refused"}
    assert all(ends[kind, "refused"] for kind in kinds)


def a_record(seed: int) -> dict:
    return {
        "seed": seed,
        "design": "1 x 9 resident, core",
        "config": dataclasses.asdict(SMALL),
        "bench": "models",
        "seconds": 60.0,
        "building": 30.0,
        "processor": 50.0,
        "counts": {"networks": 40, "images": 100},
        "features": {"3x3": 30},
    }


def test_runs_are_recorded_and_shown(monkeypatch, tmp_path):
    failure = Failure(
        seed=8, kind="faults", text="why", design=Design(config=SMALL, core_alone=True)
    )
    rounds = [(a_record(7), None), (a_record(8), failure)]
    monkeypatch.setattr(fuzz, "_rounds", lambda *_: rounds)
    file, page = tmp_path / "records.json", tmp_path / "fuzzing.md"
    for _ in range(2):
        assert fuzz.main(["--time", "1", "--seed", "7", "--json", str(file)]) == 1
    runs = json.loads(file.read_text())
    assert [run["seeds"] for run in runs] == [[7, 9]] * 2
    assert runs[0]["failures"][0]["replay"] == "python tests/fuzz.py --replay 8"
    assert fuzz.main(["--table", str(page), "--json", str(file)]) == 0
    text = page.read_text()
    assert "4 configurations, 2 failures" in text and "| 1 x 9x1: 4 |" in text
    by_hand = text.replace("None yet.", "- seed 8: the gate; mended in 1234567.")
    page.write_text(by_hand)
    assert fuzz.main(["--table", str(page), "--json", str(file)]) == 0
    assert page.read_text() == by_hand
    with pytest.raises(ValueError, match="must hold one <!-- fuzzing -->"):
        refreshed("no such comment", runs)


def test_rounds_end_with_the_time(monkeypatch):
    monkeypatch.setattr(fuzz, "run_round", lambda seed: (a_record(seed), None))
    run = fuzz.fuzz(5, 0.05, 1, Console(quiet=True))
    first, end = run["seeds"]
    assert first == 5 and [each["seed"] for each in run["rounds"]] == list(range(5, end))
    assert run["commit"]
