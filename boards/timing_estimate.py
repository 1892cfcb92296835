"""The slowest paths between blocks, estimated on yosys' netlist for an ECP5 before placement.

``python -m penstock.boards.timing_estimate --config ulx3s-85f`` synthesizes the core and lists
them, ``--block`` those of one block; ``--netlist`` takes a netlist as it is, a board's, too. It
spares the minutes of placement and routing, and cannot see what those add: where the cells lie.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from penstock.boards.devices import LFE5U_85F
from penstock.boards.family import NETLIST
from penstock.boards.stand_alone import DEVICES, add_options, component, stand_alone
from penstock.boards.synthesis import Flow
from penstock.boards.top import TOP
from penstock.configuration_file import load_config
from penstock.errors import PenstockError, SynthesisError

LOGIC = {"LUT4": 0.24, "PFUMX": 0.17, "L6MUX21": 0.24, "CCU2C": 0.45, "TRELLIS_DPR16X4": 0.24}
"""ns from an input to an output, speed grade 6, as nextpnr-ecp5 0.11 has them."""

CARRY = 0.07
"""ns from the carry into a CCU2C to the one out of it."""

CLOCK_TO_OUTPUT = {"TRELLIS_FF": 0.52, "DP16KD": 5.83, "PDPW16KD": 5.83, "MULT18X18D": 1.0}
OUTPUT_REGISTER = 1.0
"""ns from the clock to a block RAM's outputs where it has its output register."""

WIRE, WIRE_BY_FAN_OUT = 0.6, 0.2
"""ns of a wire to its only sink, and what each doubling of the sinks adds; a guess between those
of a small design and of a crowded one."""

CLOCK_PINS = {"CLK", "CLK0", "CLKA", "CLKB", "CLKR", "CLKW", "WCK"}
NEIGHBOURS = {("PFUMX", "ALUT"), ("PFUMX", "BLUT"), ("L6MUX21", "D0"), ("L6MUX21", "D1")}
NEIGHBOURS |= {("CCU2C", "CIN")}
"""Inputs that have a wire of their own from the next cell."""

SCOPE = "$scopeinfo"
"""Cells that only tell where others come from."""

READ_PINS = {"RAD"}
"""Inputs of a distributed RAM that its outputs follow; the others wait for the clock."""

BLOCK_LEVELS = 3
"""Levels of the hierarchy that name a block."""


@dataclass(frozen=True, kw_only=True)
class TimingPath:
    """The slowest path that begins in one block's registers and ends in another's."""

    start: str
    end: str
    nanoseconds: float
    nets: tuple[str, ...]  # that it goes through, the first register's output first

    @property
    def levels(self) -> int:
        """Cells between the two registers."""
        return len(self.nets) - 1


def slowest_paths(module: dict) -> list[TimingPath]:
    """For each pair of blocks the slowest path between them, slowest first.

    module: flat, as yosys writes it in JSON, of ECP5 cells. A pair counts where a path between the
    two is the slowest into its last register. Raises PenstockError for other cells, where
    logic feeds itself, and where there is no path.
    """
    netlist = _Netlist(module)
    worst: dict[tuple[str, str], TimingPath] = {}
    for end, bit, time in netlist.ends():
        path = netlist.path(bit, end, time)
        pair = path.start, path.end
        if pair not in worst or worst[pair].nanoseconds < time:
            worst[pair] = path
    if not worst:
        raise PenstockError("netlist: must have a path from one register to another")
    return sorted(worst.values(), key=lambda path: -path.nanoseconds)


class _Netlist:
    """Arrival time of each net at its driver, and the net before it on the slowest way there."""

    def __init__(self, module: dict):
        self.cells = {k: v for k, v in module["cells"].items() if v["type"] != SCOPE}
        self.names = _names(module)
        self.sinks: dict[int, int] = {}
        for cell in self.cells.values():
            for _, bit in _pins(cell, "input"):
                self.sinks[bit] = self.sinks.get(bit, 0) + 1
        self.arrival: dict[int, float] = {}
        self.before: dict[int, int] = {}
        driver = {}
        for name, cell in self.cells.items():
            kind = cell["type"]
            if kind not in LOGIC and kind not in CLOCK_TO_OUTPUT:
                raise PenstockError(f"netlist: cells must be those of an ECP5, not {kind}")
            for _, bit in _pins(cell, "output"):
                if kind in LOGIC:
                    driver[bit] = name
                else:
                    self.arrival[bit] = _clock_to_output(cell)
        feeding = {
            name: {driver[bit] for _, bit in _followed(self.cells[name]) if bit in driver}
            for name in driver.values()
        }
        try:
            for name in TopologicalSorter(feeding).static_order():
                self._pass(self.cells[name])
        except CycleError as error:
            raise PenstockError(f"netlist: logic must not feed itself: {error.args[1]}") from None

    def _pass(self, cell: dict):
        """Times at the outputs of a cell without registers."""
        for output, bit in _pins(cell, "output"):
            ways = [
                (self.at_pin(cell, port, source) + _delay(cell, port, output), source)
                for port, source in _followed(cell)
            ]
            time, source = max(ways, default=(0.0, None))
            self.arrival[bit] = time
            if source in self.arrival:
                self.before[bit] = source

    def at_pin(self, cell: dict, port: str, bit: int) -> float:
        """When a net's value is at a pin; pins of the module have theirs at 0."""
        time = self.arrival.get(bit, 0.0)
        if (cell["type"], port) in NEIGHBOURS:
            return time
        return time + WIRE + WIRE_BY_FAN_OUT * math.log2(self.sinks[bit])

    def ends(self) -> Iterator[tuple[str, int, float]]:
        """(block, net, time) of each input of a register."""
        for name, cell in self.cells.items():
            if cell["type"] in CLOCK_TO_OUTPUT or cell["type"] == "TRELLIS_DPR16X4":
                outputs = [bit for _, bit in _pins(cell, "output")]
                named = cell["type"] == "TRELLIS_FF" and outputs
                block = _block(self.names[outputs[0]] if named else name)
                for port, bit in _pins(cell, "input"):
                    if port not in READ_PINS and bit in self.arrival:
                        yield block, bit, self.at_pin(cell, port, bit)

    def path(self, bit: int, end: str, time: float) -> TimingPath:
        """The slowest way to a net."""
        bits = [bit]
        while bits[-1] in self.before:
            bits.append(self.before[bits[-1]])
        nets = tuple(self.names[each] for each in reversed(bits))
        return TimingPath(start=_block(nets[0]), end=end, nanoseconds=time, nets=nets)


def _names(module: dict) -> dict[int, str]:
    """The best name of each net: given by a person, the shortest."""
    best: dict[int, tuple] = {}
    for name, net in module["netnames"].items():
        for index, bit in enumerate(net["bits"]):
            shown = f"{name}[{index}]" if len(net["bits"]) > 1 else name
            rank = net["hide_name"], len(name), shown
            if bit not in best or rank < best[bit]:
                best[bit] = rank
    return {bit: shown for bit, (_, _, shown) in best.items()}


def _pins(cell: dict, direction: str) -> Iterator[tuple[str, int]]:
    """(port, net) of the pins in use, clocks left out."""
    for port, bits in cell["connections"].items():
        if cell["port_directions"][port] == direction and port not in CLOCK_PINS:
            yield from ((port, bit) for bit in bits if isinstance(bit, int))


def _followed(cell: dict) -> Iterator[tuple[str, int]]:
    """(port, net) of the inputs that the outputs of a cell without registers follow."""
    ram = cell["type"] == "TRELLIS_DPR16X4"
    return (pin for pin in _pins(cell, "input") if not ram or pin[0] in READ_PINS)


def _delay(cell: dict, port: str, output: str) -> float:
    return CARRY if (port, output) == ("CIN", "COUT") else LOGIC[cell["type"]]


def _clock_to_output(cell: dict) -> float:
    registered = "OUTREG" in (cell["parameters"].get(f"REGMODE{port}") for port in ("", "_A", "_B"))
    return OUTPUT_REGISTER if registered else CLOCK_TO_OUTPUT[cell["type"]]


def _block(name: str) -> str:
    """The block that a net or cell of the flat netlist was in."""
    return ".".join(name.split(".")[:-1][:BLOCK_LEVELS]) or "top"


def print_paths(paths: list[TimingPath], count: int, nets: bool):
    """The slowest ``count`` of the paths as a table, with the nets that they go through."""
    print(f"estimate: {1000 / paths[0].nanoseconds:.0f} MHz before placement")
    print(f"{'ns':>5} {'levels':>6}  from -> to")
    for path in paths[:count]:
        print(f"{path.nanoseconds:5.1f} {path.levels:6}  {path.start} -> {path.end}")
        if nets:
            print("".join(f"{'':14}{net}\n" for net in path.nets), end="")


def _read(file: Path) -> dict:
    """The top module of a netlist that `Flow.synthesize` wrote."""
    try:
        return json.loads(file.read_text())["modules"][TOP]
    except (OSError, ValueError, KeyError, TypeError):
        raise PenstockError(f"{file}: must be yosys' JSON with a module {TOP}") from None


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--netlist", type=Path, help="yosys' JSON, as it is")
    parser.add_argument("--count", type=int, default=30, help="pairs of blocks to show")
    parser.add_argument("--nets", action="store_true", help="show what each path goes through")
    options = parser.parse_args(arguments)
    try:
        file = options.netlist
        if file is None:
            config = load_config(options.config)
            if DEVICES[config.engine] is not LFE5U_85F:
                raise PenstockError(f"config: must be of the engine array, not {config.engine}")
            made = component(config, options.block)
            # The clock is a constraint of placement: it makes no difference to the netlist.
            file = Flow(LFE5U_85F).synthesize(stand_alone(made, LFE5U_85F, megahertz=100)) / NETLIST
            print(f"netlist: {file}")
        paths = slowest_paths(_read(file))
        print_paths(paths, options.count, options.nets)
    except (PenstockError, SynthesisError) as error:
        print(f"penstock: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
