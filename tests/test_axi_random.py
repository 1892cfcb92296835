"""Random register accesses, corrupted programs and faults on the whole accelerator."""

import json
from collections import Counter

from axi_cases import RANDOM_BENCH, RANDOM_TESTS, bench_job, random_parameters, small_case

from penstock.config import preset
from penstock.registers import Code
from penstock.sim.runner import run
from penstock.sim.simulate import build_accelerator

ACCESSES = PROGRAMS = 1000
FAULTS = 100


def test_random_accesses_corrupted_programs_and_faults(tmp_path):
    """Bounded, answered as the register map says, and never a wrong result with code OK."""
    config = preset("tiny")
    cases = [small_case(config, seed=4), small_case(config, seed=5)]
    parameters = random_parameters(
        config,
        [bench_job(*case, tmp_path, index) for index, case in enumerate(cases)],
        latency=(0, 10),
        stalls=0.0,
        accesses=ACCESSES,
        rounds=20,
        programs=PROGRAMS,
        faults=FAULTS,
    )
    build = build_accelerator(config)
    run(build, RANDOM_BENCH, parameters, tests=RANDOM_TESTS, seed=1, folder=tmp_path)
    accesses = json.loads((tmp_path / "accesses.json").read_text())
    print("\nanswers:", accesses)
    answers = [f"{kind} {answer}" for kind in ("read", "write") for answer in ("OKAY", "SLVERR")]
    assert all(accesses[answer] for answer in answers)
    assert sum(accesses[answer] for answer in answers) == ACCESSES
    assert accesses["ABORT needed"]
    faults = json.loads((tmp_path / "faults.json").read_text())
    print("faults:", faults)
    assert sum(count for *_, count in faults) == FAULTS
    ends = {(kind, code) for kind, _, code, _ in faults}
    assert len({kind for kind, _ in ends}) == 5
    assert {("a_dead_bus", "TIMEOUT"), ("a_failing_word", "BUS_ERROR")} <= ends
    assert {("a_short_watchdog", "TIMEOUT"), ("writes_to_registers", "OK")} <= ends
    codes, kinds = Counter(), Counter()
    for kind, code, count in json.loads((tmp_path / "corruptions.json").read_text()):
        codes[code] += count
        kinds[kind] += count
        print(f"{count:5} {code:12} {kind}")
    print("programs by code:", dict(codes))
    assert sum(codes.values()) == PROGRAMS
    assert min(kinds.values()) > PROGRAMS // 40 and len(kinds) == 12
    reached = {Code[name] for name in codes}
    bad = {Code.BAD_MAGIC, Code.BAD_VERSION, Code.BAD_CONFIG, Code.BAD_LENGTH, Code.BAD_CRC}
    assert bad | {Code.BUS_ERROR, Code.OK} <= reached
