"""The core, or one of its blocks, on an FPGA without a board: what it takes, how fast it is.

``python -m penstock.boards.stand_alone --config ulx3s-85f`` prints both; ``--block
penstock.hw.write_queue:WriteQueue`` does so for a block. A shift register stands for whatever will
surround it.
"""

import argparse
import dataclasses
import importlib
import sys

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.boards.devices import ICE40UP5K, LFE5U_85F
from penstock.boards.family import TOP, Device
from penstock.boards.synthesis import Flow, Seed
from penstock.boards.top import Top
from penstock.config import Config
from penstock.configuration_file import load_config
from penstock.errors import PenstockError, SynthesisError
from penstock.hw.core import Core
from penstock.hw.engine_choice import make_core
from penstock.hw.verilog import to_verilog

DEVICES = {"array": LFE5U_85F, "compact": ICE40UP5K}
"""Engine -> what it is tried on."""

SITES = {
    LFE5U_85F: {"clk": "G2", "rst": "R1", "serial": "M1", "parity": "L4"},
    ICE40UP5K: {"clk": "35", "rst": "10", "serial": "6", "parity": "9"},
}
"""Of the pins: a clock, a button and the serial line of a ULX3S, of an iCEBreaker."""


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
    config = dataclasses.replace(config, target=DEVICES[config.engine].family.target)
    if block is None:
        return make_core(config)
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


def stand_alone(made: wiring.Component, device: Device, megahertz: int) -> Top:
    """The component between its pins, as the tools take it."""
    constraints = device.family.constraints(SITES[device], megahertz)
    return Top(to_verilog(Pins(made), TOP), constraints, megahertz)


def add_options(parser: argparse.ArgumentParser):
    """What is synthesized."""
    parser.add_argument("--config", default="ulx3s-85f")
    parser.add_argument("--block", metavar="MODULE:CLASS", help="a block instead of the core")


def _print(seed: Seed):
    if not seed.routed:
        print(f"seed {seed.number}: not routed, see {seed.folder}")
        return
    report = seed.report()
    for cell, numbers in report["utilization"].items():
        if numbers["used"]:
            print(f"{cell:14} {numbers['used']:6} of {numbers['available']}")
    for clock, numbers in report["fmax"].items():
        megahertz = numbers["achieved"]
        print(f"clock {clock}: {megahertz:.1f} MHz, seed {seed.number}, {seed.seconds:.0f} s")


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--seed", type=int, action="append", help="may be given several times")
    parser.add_argument("--megahertz", type=int, default=100, help="clock to aim at")
    options = parser.parse_args(arguments)
    try:
        config = load_config(options.config)
        device = DEVICES[config.engine]
        made = component(config, options.block)
        top = stand_alone(made, device, options.megahertz)
        flow = Flow(device)
        placed = made.cfg if isinstance(made, Core) else None
        for seed in flow.route(top, flow.synthesize(top), options.seed or [1], placed):
            _print(seed)
    except (PenstockError, SynthesisError) as error:
        print(f"penstock: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
