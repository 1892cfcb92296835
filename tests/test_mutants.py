"""The list of planted faults, and that the runner tells a catch from anything else."""

import json
from collections import Counter
from pathlib import Path

import mutate
import pytest
from mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parent.parent
NO_LOGIC = {"__init__.py", "axi.py", "engine_choice.py", "integration.py", "verilog.py"}
"""Files of hw/ that write text, name ports or choose a core: no hardware."""


def test_each_fault_changes_one_place():
    for mutant in MUTANTS:
        assert (ROOT / mutant.file).read_text().count(mutant.old) == 1, mutant.name
        assert mutant.old != mutant.new, mutant.name


def test_names_are_unique():
    assert [name for name, count in Counter(m.name for m in MUTANTS).items() if count > 1] == []


def test_enough_faults_of_enough_kinds_everywhere():
    assert len(MUTANTS) >= 60
    assert len({mutant.kind for mutant in MUTANTS}) >= 12
    files = {path.name for path in (ROOT / "hw").glob("*.py")} - NO_LOGIC
    assert files == {Path(mutant.file).name for mutant in MUTANTS}


def test_selections_name_files_that_are_there():
    for selection in (*mutate.LADDER, *(mutant.tests for mutant in MUTANTS)):
        assert (ROOT / selection[0].split("::")[0]).is_file(), selection


@pytest.fixture
def tree(tmp_path) -> mutate.Tree:
    """A tree with hardware of no use."""
    source = tmp_path / "source"
    files = ["penstock/__init__.py", *(f"{name}/__init__.py" for name in mutate.LINKED)]
    for name in files:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
    return mutate.Tree(tmp_path / "tree", source, files)


ERROR = "class SimulationError(Exception): pass\n"
LOG = "1 of 3 tests failed\\n** penstock.sim.tb_gate.strictly_above   FAIL   1.00"

FIXTURE = f"""import pytest
{ERROR}@pytest.fixture
def built(): raise SimulationError('{LOG}')
def test_it(built): pass
"""


@pytest.mark.parametrize(
    ("text", "outcome", "bench"),
    [
        ("def test_it(): pass", "passed", ""),
        ("def test_it(): assert 1 == 2", "failed", ""),
        ("def test_it(): raise AssertionError('wrong')", "failed", ""),
        ("def test_it(): assert 'hold: Assert failed in top' is None", "failed", ""),
        ("def test_it(): assert 'cover: Unreached cover' is None", "failed", ""),
        ("def test_it(): assert 'hold: no answer in 60 s' is None", "broken", ""),
        (
            "import pytest\ndef test_it():\n    with pytest.raises(ValueError): pass",
            "failed",
            "",
        ),
        (
            f"{ERROR}def test_it(): raise SimulationError('{LOG}')",
            "failed",
            "tb_gate.strictly_above",
        ),
        (
            FIXTURE,
            "failed",
            "tb_gate.strictly_above",
        ),
        (f"{ERROR}def test_it(): raise SimulationError('g++ must succeed, failed:')", "broken", ""),
        (f"{ERROR}def test_it(): raise SimulationError('must run 2 tests, ran 0')", "broken", ""),
        (
            f"{ERROR}def test_it(): raise SimulationError('1 of 1 tests failed\\nImportError: x')",
            "broken",
            "",
        ),
        ("def test_it(): open('missing')", "broken", ""),
        ("def test_it(): {}['key']", "broken", ""),
        ("import missing_module\ndef test_it(): pass", "broken", ""),
        ("import pytest\n@pytest.mark.skip\ndef test_it(): pass", "broken", ""),
        ("def it(): pass", "broken", ""),
        ("import os\ndef test_it(): os._exit(1)", "broken", ""),
        ("import time\ndef test_it(): time.sleep(60)", "no end", ""),
    ],
)
def test_only_a_failed_check_counts(tree, text, outcome, bench):
    (tree.folder / "test_it.py").write_text(text)
    limit = 3 if outcome == "no end" else 60
    finding = tree.test(("test_it.py",), tree.folder / "builds", limit)
    assert (finding.outcome, finding.bench) == (outcome, bench), finding
    if outcome == "failed":
        assert finding.test == "test_it.py::test_it"


def test_hardware_from_elsewhere_is_no_result(tree):
    (tree.folder / "test_it.py").write_text("def test_it(): assert False")
    (tree.folder / "penstock" / "hw").unlink()
    finding = tree.test(("test_it.py",), tree.folder / "builds")
    assert finding.outcome == "broken" and "the hardware came from" in finding.detail


VERILOG = """
import hashlib
from penstock.config import preset
from penstock.hw.gate import GateComparator
from penstock.hw.verilog import to_verilog
print(hashlib.sha256(to_verilog(GateComparator(preset("tiny")), "top").encode()).hexdigest())
"""
TEST = """
import inspect
from penstock.hw.gate import GateComparator
def test_gate():
    assert "partial_sums[row] - 1" not in inspect.getsource(GateComparator)
"""


def test_each_outcome_from_end_to_end(tmp_path, monkeypatch):
    """Faults of the gate, judged by a test that sees one of them; then the report."""
    (tmp_path / "test_gate.py").write_text(TEST)
    monkeypatch.setattr(mutate, "FOLDER", tmp_path)
    monkeypatch.setattr(mutate, "LADDER", ())
    monkeypatch.setattr(mutate, "DESIGNS", ("gate",))
    monkeypatch.setattr(mutate, "VERILOG", VERILOG)
    comparison = "self.thresholds[row] - self.partial_sums[row]"
    changes = {
        "caught": (comparison, f"{comparison} - 1"),
        "survived": (comparison, comparison.replace("-", "+")),
        "no change": (comparison, f"({comparison})"),
        "stillborn": (comparison, "self.no_such_port"),
    }
    tests = (str(tmp_path / "test_gate.py"),)
    mutants = [Mutant(k, k, "hw/gate.py", *v, tests) for k, v in changes.items()]
    log = tmp_path / "log.jsonl"
    log.touch()
    (tmp_path / "builds").mkdir()
    campaign = mutate.Campaign(mutants, log, lambda line: None)
    campaign.check_base([tests])
    campaign.run(jobs=2)
    assert {r["name"]: r["status"] for r in campaign.records if "name" in r} == {
        name: name for name in changes
    }
    code, line = mutate.verdict(campaign)
    assert code == 1 and line.startswith("1 of 4 caught, 25.0 %; no reason for: survived")
    again = mutate.Campaign(mutants, log, lambda line: None)
    again.run(jobs=1)  # nothing is left
    assert again.records == [json.loads(line) for line in log.read_text().splitlines()]
    assert len(again.records) == 5
    report = mutate.markdown(again, "make mutate")
    assert "**1 caught, 25.0 %**" in report
    assert "| caught | caught | `hw/gate.py` | `" in report and "test_gate.py::test_gate" in report
    assert "| stillborn | `hw/gate.py` | stillborn | no reason yet |" in report
    assert list(tmp_path.glob("fault-*")) == []
    assert mutate.verdict(mutate.Campaign(mutants[:1], log, lambda line: None))[0] == 0
