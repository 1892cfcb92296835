"""What a family of devices is to the flow: its tools, their files, and the names of its cells."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from amaranth.hdl import Fragment, Instance

from penstock.config import Config

TOP = "top"
"""Name of the top module."""

VERILOG, NETLIST = "top.v", "netlist.json"
"""What yosys reads and writes."""

PLACED, REPORT, LOG = "placed.json", "report.json", "nextpnr.log"
"""What nextpnr writes beside the routed design, LOG as it goes."""


class Family(ABC):
    """Devices of one kind: how the open tools make a bitstream for one of them."""

    target: str
    """Of the configuration."""
    nextpnr: str
    packer: str
    """Names of the tools, without YoWASP's prefix."""
    constraints_suffix: str
    bitstream_suffix: str
    routed: str
    """File that nextpnr writes for the packer."""
    yosys_arguments: list[str]
    """VERILOG becomes NETLIST."""
    primitives: Mapping[str, str]
    """``dsp`` and ``bram`` -> what messages call them."""
    resources: Mapping[str, tuple[str, ...]]
    """Type of a packed cell -> the resources that it takes one of: lut, ff, dsp, bram."""
    for_clock: tuple[str, ...] = ()
    """More arguments of nextpnr, with which its router does not end before the clock is met."""
    carry: tuple[str, str]
    """Ports of a packed cell by which carry chains are linked."""

    @abstractmethod
    def nextpnr_arguments(self, device: "Device", seed: int, megahertz: float) -> list[str]:
        """NETLIST and the constraints become PLACED, REPORT and the routed design.

        ``megahertz`` is for a tool whose constraints do not name the clock.
        """

    @abstractmethod
    def packer_arguments(self, bitstream: str) -> list[str]:
        """The routed design becomes a bitstream."""

    @abstractmethod
    def constraints(self, sites: Mapping[str, str], megahertz: int) -> str:
        """Pins at sites; the clock, at pin ``clk``, where the format has one."""

    @abstractmethod
    def taken(self, instance: Instance) -> Mapping[str, int]:
        """What an instance in a design takes of ``dsp`` and ``bram``."""

    def hurried(self, constraints: str, megahertz: float) -> str:
        """The constraints of a run with ``for_clock``."""
        return constraints

    def prepared(self, netlist: str, config: Config | None) -> str:
        """Yosys' netlist as nextpnr is to have it.

        ``config`` is that of the core in it, if there is one: sites may be known for its cells.
        """
        return netlist

    def cell_type(self, cell: Mapping) -> str:
        """The type of a cell in PLACED, as ``resources`` knows it."""
        return cell["type"]

    @property
    def constraints_file(self) -> str:
        """What nextpnr reads beside NETLIST."""
        return f"top.{self.constraints_suffix}"


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device: its names, what there is in it, and the tiles of its grid.

    ``lut``, ``ff``, ``dsp``, ``bram``: how many cells of each resource of its family.
    """

    name: str
    family: Family
    nextpnr: tuple[str, ...]  # options that choose it
    lut: int
    ff: int
    dsp: int
    bram: int
    width: int
    height: int

    def primitives(self, design: Fragment) -> dict[str, int]:
        """What an elaborated design takes: nothing else is inferred as one."""
        used = Counter(dict.fromkeys(self.family.primitives, 0))
        for instance in _instances(design):
            used.update(self.family.taken(instance))
        return dict(used)


def _instances(fragment: Fragment) -> Iterator[Instance]:
    if isinstance(fragment, Instance):
        yield fragment
    for inner, *_ in fragment.subfragments:
        yield from _instances(inner)
