"""Proves all properties and writes their table: ``python -m penstock.sim.formal``."""

import argparse
import importlib
import os
import pkgutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from penstock.sim import formal
from penstock.sim.formal.prover import Outcome, Proof, prove

HEADER = """# Proofs

What SymbiYosys (yowasp-sby) and z3 proved of the hardware, for all inputs; `make formal` writes it.
`sim/formal/` has the properties themselves, and of each assumption who keeps it.

- **sizes**: the configuration, and the bounds that a proof assumes. Words that a block moves as a
  whole are compared in full, or, with "end bits", in the lowest and the highest bit of each field.
- **holds for**: all times, by k-induction from reset on; or, where induction does not reach, the
  first cycles after reset, as many as stated.

Each proof also shows, by reaching its cover statements, that its assumptions leave something to
prove.

| block | property | sizes | holds for | seconds |
|---|---|---|---|---|
"""


def proofs() -> list[Proof]:
    """The proofs of every module of this package, in the order of their names."""
    modules = sorted(info.name for info in pkgutil.iter_modules(formal.__path__))
    loaded = (
        importlib.import_module(f"{formal.__name__}.{name}")
        for name in modules
        if name != "__main__"
    )
    return [proof for module in loaded for proof in getattr(module, "PROOFS", ())]


def table(outcomes: list[Outcome], before: str = "") -> str:
    """The page with all outcomes, and with the page ``before``'s of proofs that were not run."""
    rows = {row(proof): "" for proof in proofs()}
    for line in before.splitlines(keepends=True):
        rows |= {start: line for start in rows if line.startswith(start)}
    for outcome in outcomes:
        rows[row(outcome.proof)] = f"{row(outcome.proof)}{outcome.how} | {outcome.seconds:.0f} |\n"
    return HEADER + "".join(rows.values())


def row(proof: Proof) -> str:
    """The beginning of a proof's line, which tells it from all others."""
    return f"| {proof.block} | {proof.statement} | {proof.configuration} | "


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m penstock.sim.formal", description=__doc__)
    parser.add_argument("only", nargs="?", default="", help="part of a proof's key")
    parser.add_argument("--quick", action="store_true", help="the proofs that `make test` runs")
    parser.add_argument("--markdown", type=Path, help="the table whose rows to write")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="proofs at once")
    arguments = parser.parse_args()
    chosen = [p for p in proofs() if arguments.only in p.key and (p.quick or not arguments.quick)]
    if not chosen:
        print(f"a proof's key must hold {arguments.only!r}, none does", file=sys.stderr)
        return 2
    folder = Path(os.environ.get("PENSTOCK_BUILD", "build")) / "formal"
    outcomes = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for outcome in pool.map(lambda proof: prove(proof, folder / proof.key), chosen):
            outcomes.append(outcome)
            print(
                f"{outcome.seconds:6.1f} s  {outcome.proof.key}: {outcome.failure or outcome.how}",
                flush=True,
            )
    failed = sum(outcome.failure is not None for outcome in outcomes)
    print(f"{len(outcomes) - failed} of {len(outcomes)} proofs hold")
    if arguments.markdown and not failed:
        page = arguments.markdown
        page.write_text(table(outcomes, page.read_text() if page.exists() else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
