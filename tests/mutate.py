"""Plants each fault of mutants.py in a copy of the hardware and shows which test catches it.

    python tests/mutate.py --json build/mutation/log.jsonl --markdown docs/mutation.md

Each fault gets a copy of the working tree and a folder of builds of its own; nothing of the tree
itself is touched. A fault counts as caught only when a test fails by what it checked: a build that
fails, a missing file or a test without an end do not count. Before that, the same tests must pass
without a fault; a fault that no test of its own catches must change the generated Verilog.

Interrupted, it goes on with ``--resume build/mutation/log.jsonl``. The exit code is 1 when less
than 95 % are caught or a survivor has no reason.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from mutants import MUTANTS, Mutant
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "mutation"
"""Copies of the tree and builds; the builds without a fault stay there for the next time."""

LINKED = ("hw", "gold", "sim", "boards")
"""Packages of penstock that lie beside it in the tree."""

LIMIT = 15 * 60
"""Seconds of one run of pytest."""

PASS_RATE = 0.95

Selection = tuple[str, ...]
"""Arguments of pytest that choose tests."""

LADDER = (
    ("tests/test_hw_blocks.py",),
    ("tests/test_hw_control_blocks.py",),
    ("tests/test_hw_memory_side.py",),
    ("tests/test_axi_blocks.py", "-k", "test_block"),
    ("tests/test_hw_ecp5.py",),
    ("tests/test_core_faults.py",),
    ("tests/test_simulate.py",),
    ("tests/test_random_networks.py", "-k", "bit_exact and tiny"),
    ("tests/test_axi_faults.py",),
    ("tests/test_axi_random.py",),
    ("tests/test_axi_networks.py", "-k", "random"),
    ("tests/test_random_networks.py", "-k", "bit_exact and not tiny"),
    ("tests/test_bench.py",),
    ("tests/test_resnet20.py",),
    ("tests/test_formal.py", "-k", "test_proof"),
)
"""All tests that run the hardware, cheap ones first: what a fault meets when its own tests pass."""

VERILOG = """
import dataclasses, hashlib, sys
from penstock.config import preset
from penstock.hw.accelerator import Accelerator
from penstock.hw.verilog import to_verilog
tiny, ulx3s = preset("tiny"), preset("ulx3s-85f")
config = {
    "tiny": tiny,
    "streamed-32": dataclasses.replace(tiny, weights="streamed", axi_bits=32),
    "one-row-128": dataclasses.replace(tiny, rows=1, word=8, axi_bits=128),
    "ecp5": dataclasses.replace(ulx3s, target="ecp5"),
}[sys.argv[1]]
print(hashlib.sha256(to_verilog(Accelerator(config), "top").encode()).hexdigest())
"""
"""Digest of the Verilog that a tree generates."""

DESIGNS = ("tiny", "streamed-32", "one-row-128", "ecp5")

SITE = """
import importlib.util, os
with open(os.environ["MUTATION_ORIGINS"], "a") as file:
    print(importlib.util.find_spec("penstock.hw").origin, file=file)
"""
"""Every Python of a run, the simulators' too, notes where its hardware comes from."""

GENUINE = re.compile(
    r"(?!AssertionError: assert '\w+: (?!Assert failed|Unreached cover))"  # of a broken proof
    r"(AssertionError\b|assert |Failed: DID NOT RAISE"
    r"|(\S+\.)?SimulationError: [^\n]*\d+ of \d+ tests failed)"
)
"""How the report of a test begins that failed by what it checked."""

FOREIGN = re.compile(
    r"\b(ImportError|ModuleNotFoundError|FileNotFoundError|PermissionError|MemoryError|OSError"
    r"|No space left|must succeed, failed)\b"
)
"""What makes a failure one of the machine, whatever else its report says."""

BENCH_FAILURE = re.compile(r"\*\* (?:penstock\.sim\.)?(\S+)\s+FAIL\b")


@dataclass(frozen=True)
class Finding:
    """What one run of pytest showed: "passed", "failed", "broken" or "no end"."""

    outcome: str
    test: str = ""  # that failed first
    bench: str = ""  # of its benches, those that failed
    detail: str = ""


def classify(status: int | None, report: Path, log: str) -> Finding:
    """What a run of pytest showed, from exit status (None: killed at its limit), JUnit XML, log."""
    if status is None:
        return Finding("no end", detail=f"no end within {LIMIT} s")
    if status not in (0, 1) or not report.exists():
        return Finding("broken", detail=f"pytest's exit status is {status}: {_last_line(log)}")
    cases = list(ElementTree.parse(report).iter("testcase"))
    if status == 0:
        passed = [case for case in cases if case.find("skipped") is None]
        return Finding("passed") if passed else Finding("broken", detail="every test was skipped")
    for case in cases:
        failure = case.find("failure")
        if failure is None:
            failure = case.find("error")
        if failure is None:
            continue
        module = case.get("classname", "").replace(".", "/")
        name = f"{module}.py::{case.get('name')}"
        message = failure.get("message", "").removeprefix('failed on setup with "')
        text = "\n".join(re.findall(r"^E .*", failure.text or "", re.MULTILINE)) + message
        genuine = failure.tag == "failure" or "SimulationError" in message
        if genuine and GENUINE.match(message) and not FOREIGN.search(text):
            benches = dict.fromkeys(BENCH_FAILURE.findall(text))
            return Finding("failed", name, ", ".join(benches), message.splitlines()[0][:200])
        return Finding("broken", name, detail=(message.splitlines() or ["?"])[0][:400])
    return Finding("broken", detail=f"no failed test is reported: {_last_line(log)}")


def _last_line(log: str) -> str:
    return next((line for line in reversed(log.splitlines()) if line.strip()), "no output")[:200]


class Tree:
    """A copy of the working tree in a folder of its own, with its own builds."""

    def __init__(self, folder: Path, source: Path, files: Iterable[str]):
        self.folder = folder
        self.runs = 0
        for name in files:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target)
        for name in LINKED:
            (folder / "penstock" / name).symlink_to(Path("..") / name)
        (folder / "sitecustomize.py").write_text(SITE)
        self.origins = folder / "origins.txt"

    def plant(self, mutant: Mutant):
        """Change the hardware."""
        path = self.folder / mutant.file
        text = path.read_text()
        if text.count(mutant.old) != 1:
            raise ValueError(f"{mutant.name}: its text must occur once in {mutant.file}")
        path.write_text(text.replace(mutant.old, mutant.new))

    def execute(self, command: list[str], log: Path, builds: Path, limit: float) -> int | None:
        """Exit status; None after the time limit, at which everything it started is killed."""
        self.origins.write_text("")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
        environment |= {
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PENSTOCK_BUILD": str(builds),
            "MUTATION_ORIGINS": str(self.origins),
        }
        with open(log, "w") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", *command],
                cwd=self.folder,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                return None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

    def foreign(self) -> str | None:
        """Where the hardware of the last run came from, if not from this tree alone."""
        origins = self.origins.read_text().splitlines() or ["nowhere"]
        return next((o for o in origins if not Path(o).is_relative_to(self.folder)), None)

    def verilog(self, design: str) -> str | None:
        """Digest of a design's Verilog; None where it cannot be generated."""
        log = self.folder / "verilog.log"
        status = self.execute(["-c", VERILOG, design], log, self.folder / "build", LIMIT)
        if foreign := self.foreign():
            raise RuntimeError(f"the hardware must come from {self.folder}, not {foreign}")
        return log.read_text().split()[-1] if status == 0 else None

    def test(self, selection: Selection, builds: Path, limit: float = LIMIT) -> Finding:
        """Run tests of the tree, up to the first failure."""
        self.runs += 1
        report = self.folder / f"report-{self.runs}.xml"
        log = self.folder / f"log-{self.runs}.txt"
        command = ["-m", "pytest", "-x", "-p", "no:cacheprovider", f"--junitxml={report}"]
        status = self.execute([*command, *selection], log, builds, limit)
        if foreign := self.foreign():
            return Finding("broken", detail=f"the hardware came from {foreign}")
        return classify(status, report, log.read_text(errors="replace"))


def digest(files: dict[str, bytes]) -> str:
    """SHA-256 over names and contents."""
    total = hashlib.sha256()
    for name, content in sorted(files.items()):
        total.update(f"{name} {len(content)}\n".encode() + content)
    return total.hexdigest()[:16]


def tree_files(root: Path) -> list[str]:
    """Files that a copy of the tree takes: all that git knows or would."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (root / name).is_file()]


class Campaign:
    """All faults, some of them already tried, against the tests of one tree."""

    def __init__(self, mutants: list[Mutant], log: Path, say: Callable[[str], None]):
        self.mutants = mutants
        self.log = log
        self.say = say
        self.lock = threading.Lock()
        self.records = [json.loads(line) for line in log.read_text().splitlines()]
        self.files = tree_files(ROOT)
        contents = {name: (ROOT / name).read_bytes() for name in self.files}
        hardware = {n: c for n, c in contents.items() if n.startswith("hw/")}
        others = re.compile(r"(gold|penstock|sim|tests)/(?!mutants|mutate|test_mutants)[^/]*")
        tests = {n: c for n, c in contents.items() if others.fullmatch(n)}
        self.hardware, self.tests = digest(hardware), digest(hardware | tests)
        self.builds = FOLDER / "builds"
        self.base = Tree(_fresh(FOLDER / "base"), ROOT, self.files)
        self.verilog: dict[str, str | None] = {}

    def key(self, mutant: Mutant) -> dict:
        """What a result depends on."""
        fault = digest({mutant.file: f"{mutant.old}\n->\n{mutant.new}".encode()})
        return {"fault": fault, "hardware": self.hardware}

    def result(self, mutant: Mutant) -> dict | None:
        """The latest result that still holds; one without a catch does not outlive other tests."""
        key = self.key(mutant)
        for record in reversed(self.records):
            if record.get("name") == mutant.name and key.items() <= record.items():
                holds = record["status"] == "caught" or record["tests"] == self.tests
                return record if holds else None
        return None

    def append(self, record: dict):
        with self.lock:
            self.records.append(record)
            with open(self.log, "a") as file:
                print(json.dumps(record), file=file)

    def check_base(self, selections: Iterable[Selection]):
        """Without a fault all these tests pass; then their builds are there for every copy."""
        done = {
            tuple(record["base"])
            for record in self.records
            if "base" in record and record["tests"] == self.tests
        }
        wanted = dict.fromkeys(selections)
        for selection in wanted:
            whole = (selection[0],)
            if selection in done or (whole in done and whole != selection):
                continue
            started = time.monotonic()
            finding = self.base.test(selection, self.builds, 4 * LIMIT)
            seconds = time.monotonic() - started
            self.say(f"no fault: {finding.outcome} in {seconds:.0f} s: {shlex.join(selection)}")
            if finding.outcome != "passed":
                raise SystemExit(f"without a fault all tests must pass: {finding}")
            done.add(selection)
            self.append({"base": selection, "tests": self.tests, "seconds": round(seconds, 1)})

    def run(self, jobs: int):
        """Try every fault that has no result yet."""
        todo = [mutant for mutant in self.mutants if self.result(mutant) is None]
        if not todo:
            return
        started = time.monotonic()
        columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn())
        with Progress(*columns) as progress, ThreadPoolExecutor(jobs) as pool:
            bar = progress.add_task("faults", total=len(todo))
            waiting = {pool.submit(self.attempt, mutant): mutant for mutant in todo}
            for count, future in enumerate(as_completed(waiting), 1):
                record = future.result()
                progress.advance(bar)
                left = (time.monotonic() - started) / count * (len(todo) - count) / 60
                self.say(
                    f"{count}/{len(todo)} {record['status']} in {record['seconds']:.0f} s, "
                    f"{left:.0f} min left: {record['name']}: {record['test'] or record['detail']}"
                )

    def attempt(self, mutant: Mutant) -> dict:
        """Plant one fault, run its tests, and where they pass all others."""
        started = time.monotonic()
        with tempfile.TemporaryDirectory(dir=FOLDER, prefix="fault-") as folder:
            tree = Tree(Path(folder) / "tree", self.base.folder, self.files)
            tree.plant(mutant)
            status, finding, tried = self._judge(mutant, tree, Path(folder) / "builds")
        record = {
            "name": mutant.name,
            "status": status,
            "test": finding.test if status == "caught" else "",
            "bench": finding.bench if status == "caught" else "",
            "detail": finding.detail,
            "tried": tried,
            "seconds": round(time.monotonic() - started, 1),
            "date": time.strftime("%Y-%m-%d"),
            "tests": self.tests,
            **self.key(mutant),
        }
        self.append(record)
        return record

    def _judge(self, mutant: Mutant, tree: Tree, builds: Path):
        """Status of a planted fault, the finding behind it, and what each run showed."""
        tried = []
        share_builds(self.builds, builds)
        for selection in dict.fromkeys((mutant.tests, *LADDER)):
            finding = tree.test(selection, builds)
            tried.append([shlex.join(selection), finding.outcome, finding.detail])
            if finding.outcome == "failed":
                return "caught", finding, tried
            if len(tried) == 1 and (other := self._no_fault(tree)):
                return *other, tried
        odd = [outcome for _, outcome, _ in tried if outcome != "passed"]
        detail = "; ".join(f"{name}: {detail}" for name, how, detail in tried if how != "passed")
        return odd[0] if odd else "survived", Finding("passed", detail=detail), tried

    def _no_fault(self, tree: Tree) -> tuple[str, Finding] | None:
        """Status and finding where a tree gives no Verilog, or the same as without a fault."""
        for design in DESIGNS:
            text = tree.verilog(design)
            if text is None:
                return "stillborn", Finding("broken", detail=f"{design}: no Verilog")
            with self.lock:
                if design not in self.verilog:
                    self.verilog[design] = self.base.verilog(design)
            if text != self.verilog[design]:
                return None
        return "no change", Finding("broken", detail="the same Verilog")


def share_builds(source: Path, target: Path):
    """Hard links to finished builds; what a fault changes is built anew beside them."""
    temporary = shutil.ignore_patterns("*.lock", "runs", "building-*")
    shutil.copytree(source, target, copy_function=os.link, ignore=temporary)


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def seed_builds(builds: Path):
    """What the tree's own builds can give to the ones here."""
    own = ROOT / "build" / "sim"
    if own.is_dir() and not builds.exists():
        builds.mkdir(parents=True)
        share_builds(own, builds / "sim")


def markdown(campaign: Campaign, command: str) -> str:
    """The report, from results alone."""
    results = {mutant: campaign.result(mutant) for mutant in campaign.mutants}
    found = {mutant: record for mutant, record in results.items() if record}
    caught = sum(record["status"] == "caught" for record in found.values())
    seconds = sum(record["seconds"] for record in found.values())
    dates = sorted(record["date"] for record in found.values())
    lines = [
        "# Mutation: faults planted in the hardware, and the tests that catch them",
        "",
        (
            f"{len(found)} faults of {len({m.kind for m in found})} kinds in "
            f"{len({m.file for m in found})} files of `hw/`, one at a time: **{caught} caught, "
            f"{_percent(caught, len(found))}**. Each was planted in the Amaranth source, the "
            "simulators built again, and tests run until one failed by what it checked: those "
            "meant for it, then all others that run the hardware. The first one is named; others "
            "may catch it too. What no test catches must change the Verilog, or it is no fault."
        ),
        "",
        f"`{command}`, {dates[0]} to {dates[-1]}, {seconds:,.0f} seconds of one job."
        if dates
        else "",
        "",
    ]
    for title, group in (("kind", lambda m: m.kind), ("file", lambda m: m.file)):
        table = defaultdict(list)
        for mutant, record in found.items():
            table[group(mutant)].append(record["status"] == "caught")
        lines += [f"| {title} | faults | caught |", "|---|---|---|"]
        lines += [f"| {key} | {len(all_)} | {sum(all_)} |" for key, all_ in sorted(table.items())]
        lines.append("")
    survivors = {m: r for m, r in found.items() if r["status"] != "caught"}
    lines += ["## Not caught", ""]
    lines += ["None." if not survivors else "| fault | file | outcome | why |"]
    lines += ["|---|---|---|---|"] if survivors else []
    for mutant, record in survivors.items():
        why = mutant.accepted or "no reason yet"
        lines.append(f"| {mutant.name} | `{mutant.file}` | {record['status']} | {why} |")
    lines += ["", "## Each fault", ""]
    lines += ["| fault | kind | file | caught by | in the bench |", "|---|---|---|---|---|"]
    for mutant, record in found.items():
        test = f"`{record['test']}`" if record["test"] else record["status"]
        bench = f"`{record['bench']}`" if record["bench"] else ""
        cells = mutant.name, mutant.kind, f"`{mutant.file}`", test, bench
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "nothing tried"


def verdict(campaign: Campaign) -> tuple[int, str]:
    """Exit code and one line."""
    results = {mutant: campaign.result(mutant) for mutant in campaign.mutants}
    caught = [m for m, record in results.items() if record and record["status"] == "caught"]
    others = [m for m in results if m not in caught]
    unexplained = [mutant.name for mutant in others if not mutant.accepted]
    line = f"{len(caught)} of {len(results)} caught, {_percent(len(caught), len(results))}"
    if unexplained:
        line += f"; no reason for: {'; '.join(unexplained)}"
    return int(len(caught) < PASS_RATE * len(results) or bool(unexplained)), line


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="faults at a time")
    some = {"action": "append", "default": [], "metavar": "TEXT"}
    parser.add_argument("--only", **some, help="faults with TEXT in their name; may be repeated")
    parser.add_argument("--no-base", action="store_true", help="with --only: trust the tests")
    parser.add_argument("--json", type=Path, metavar="FILE", help="results, one a line; a new file")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="go on with these results")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report")
    options = parser.parse_args(arguments)
    if options.no_base and not options.only:
        parser.error("--no-base needs --only")
    if options.json and options.resume:
        parser.error("--json begins a file, --resume goes on with one: not both")
    if options.resume and not options.resume.exists():
        parser.error(f"--resume: no such file: {options.resume}")
    log = options.resume or options.json or FOLDER / time.strftime("%Y%m%d-%H%M%S.jsonl")
    log.parent.mkdir(parents=True, exist_ok=True)
    if not options.resume:
        log.open("x").close()
    console = Console()
    seed_builds(FOLDER / "builds")
    parts = options.only or [""]
    mutants = [mutant for mutant in MUTANTS if any(part in mutant.name for part in parts)]

    def say(line: str):
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    campaign = Campaign(mutants, log, say)
    if not options.no_base:
        todo = [mutant for mutant in mutants if campaign.result(mutant) is None]
        campaign.check_base((*LADDER, *(m.tests for m in todo)) if todo else ())
    campaign.run(options.jobs)
    if options.markdown:
        command = shlex.join(["python", "tests/mutate.py", *(arguments or sys.argv[1:])])
        options.markdown.write_text(markdown(campaign, command))
    code, line = verdict(campaign)
    say(f"{line}; results in {log}")
    return code


if __name__ == "__main__":
    sys.exit(main())
