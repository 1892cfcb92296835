"""From a board's top to a bitstream: synthesis once, placement and routing for several seeds.

What was made is found again by its content: the SHA-256 of the tool's input files, its arguments
and what it calls itself, below ``build/synth``, or ``synth`` below the folder that PENSTOCK_BUILD
names.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from penstock.boards.family import NETLIST, PLACED, REPORT, TOP, VERILOG, Device, Family
from penstock.boards.router2 import misses_clock, stuck
from penstock.boards.tools import Tool
from penstock.boards.top import Top
from penstock.config import Config
from penstock.errors import SynthesisError

CELLS = "cells.json"
"""Of a seed: name -> [type, site] of each cell, what is kept of PLACED. The ends of carry chains,
which nextpnr makes, have the name of a cell of their chain before their own."""

RUN = "run.json"
"""Of a seed: the seconds that it took."""


@dataclass(frozen=True)
class Seed:
    """What nextpnr made of one seed: ``folder`` holds its log and, where it is routed, the rest."""

    number: int
    folder: Path

    @property
    def routed(self) -> bool:
        """Whether all wires found their way."""
        return (self.folder / REPORT).exists()

    @property
    def too_slow(self) -> bool:
        """Whether it is not routed, and nothing but the clock was in the way."""
        return not self.routed and misses_clock(self.folder)

    @property
    def seconds(self) -> float:
        """Wall time."""
        return json.loads((self.folder / RUN).read_text())["seconds"]

    def report(self) -> dict:
        """nextpnr's own: ``fmax``, ``utilization``, ``critical_paths``."""
        return json.loads((self.folder / REPORT).read_text())

    def cells(self) -> dict[str, tuple[str, str]]:
        """Name -> (type, site) of each cell."""
        return json.loads((self.folder / CELLS).read_text())


class Flow:
    """The tools, and what they make of tops for one device.

    Raises PenstockError where a tool is missing; its methods raise SynthesisError where one fails.
    """

    def __init__(self, device: Device):
        self.device = device
        self.family = family = device.family
        self.yosys, self.nextpnr, self.packer = map(Tool, ("yosys", family.nextpnr, family.packer))

    def synthesize(self, top: Top) -> Path:
        """Folder with NETLIST and yosys' log."""
        files = {VERILOG: top.verilog}
        arguments = self.family.yosys_arguments
        path = _path("netlist", files, arguments, self.yosys)
        if not path.exists():
            with _whole(path) as work:
                _write(work, files)
                self.yosys.check(arguments, work)
        return path

    def route(
        self,
        top: Top,
        netlist: Path,
        seeds: Sequence[int],
        config: Config | None = None,
        advance: Callable[[int], None] = lambda amount: None,
        *,
        for_clock: bool = False,
    ) -> list[Seed]:
        """Each seed placed and routed, one process for each processor.

        ``config`` is that of the core in the top, if it has one, for the floorplan. ``advance(1)``
        is called as each seed ends. ``for_clock``: a seed whose router finds no way to meet the
        clock is not routed, where the family's router can try; it takes longer.
        """
        text = (netlist / NETLIST).read_text()
        constraints = top.constraints
        if for_clock:
            constraints = self.family.hurried(constraints, top.megahertz)
        files = {
            NETLIST: self.family.prepared(text, config),
            self.family.constraints_file: constraints,
        }

        def arguments(seed: int) -> list[str]:
            usual = self.family.nextpnr_arguments(self.device, seed, top.megahertz)
            return [*usual, *(self.family.for_clock if for_clock else ())]

        def run(seed: int) -> Seed:
            made = self._route_seed(files, seed, arguments(seed))
            advance(1)
            return made

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(run, seeds))

    def _route_seed(self, files: Mapping[str, str], number: int, arguments: list[str]) -> Seed:
        path = _path("seed", files, arguments, self.nextpnr)
        if not path.exists():
            with _whole(path) as work:
                _write(work, files)
                started = time.monotonic()
                code = self.nextpnr.run(arguments, work, stuck)
                seconds = time.monotonic() - started
                if code < 0 or (code and "ERROR" not in self.nextpnr.tail(work)):
                    raise SynthesisError(f"nextpnr broke off:\n{self.nextpnr.tail(work)}")
                if code:  # it could not be routed, or placed
                    (work / REPORT).unlink(missing_ok=True)
                else:
                    _keep_cells(work, self.family)
                (work / RUN).write_text(json.dumps({"seconds": round(seconds, 1)}))
                for name in {*files, PLACED} - {self.family.routed}:
                    (work / name).unlink(missing_ok=True)
        return Seed(number, path)

    def pack(self, seed: Seed) -> bytes:
        """The bitstream of a seed."""
        with tempfile.TemporaryDirectory(dir=seed.folder.parent, prefix="building-") as folder:
            work = Path(folder)
            routed = self.family.routed
            (work / routed).write_bytes((seed.folder / routed).read_bytes())
            self.packer.check(self.family.packer_arguments("bitstream"), work)
            return (work / "bitstream").read_bytes()


def _keep_cells(work: Path, family: Family):
    cells = json.loads((work / PLACED).read_text())["modules"][TOP]["cells"]
    chains = _chains(cells, family.carry)
    kept = {
        chains.get(name, "") + name: (
            family.cell_type(cell),
            cell["attributes"].get("NEXTPNR_BEL", ""),
        )
        for name, cell in cells.items()
    }
    (work / CELLS).write_text(json.dumps(kept))


def _chains(cells: Mapping[str, Mapping], ports: Sequence[str]) -> dict[str, str]:
    """Cell of nextpnr's own on a carry chain -> a cell of the netlist on the same chain."""
    wires = defaultdict(list)
    for name, cell in cells.items():
        for port in ports:
            for bit in cell["connections"].get(port, ()):
                wires[bit].append(name)
    found = {}
    while True:
        more = {}
        for ends in wires.values():
            known = [found.get(name, name) for name in ends]
            known = [name for name in known if not name.startswith("$")]
            new = [name for name in ends if name.startswith("$") and name not in found]
            more |= {name: known[0] for name in new if known}
        if not more:
            return found
        found |= more


def _path(kind: str, files: Mapping[str, str], arguments: Sequence[str], tool: Tool) -> Path:
    root = Path(os.environ.get("PENSTOCK_BUILD", "build")).resolve() / "synth"
    root.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    for part in (tool.banner, *arguments, *(part for file in files.items() for part in file)):
        digest.update(f"{len(part)} ".encode() + part.encode())
    return root / f"{kind}-{digest.hexdigest()[:32]}"


def _write(folder: Path, files: Mapping[str, str]):
    for name, text in files.items():
        (folder / name).write_text(text)


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A folder that becomes ``path`` at the end, so that ``path`` is whole or absent."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="building-") as folder:
        work = Path(folder) / "work"
        work.mkdir()
        yield work
        try:
            work.rename(path)
        except OSError:  # another process was faster
            if not path.exists():
                raise
