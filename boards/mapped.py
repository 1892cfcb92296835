"""A netlist of library cells and memories: what yosys leaves, without its hierarchy."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from penstock.boards.liberty import Library
from penstock.errors import PenstockError
from penstock.hw.ram_macro import Macro, macro_of

CONSTANT = 0
"""The net of every input that never changes."""


@dataclass
class Cells:
    """All instances of one library cell: ``nets[i, p]`` is at pin ``pins[p]`` of ``names[i]``.

    Names are paths of instances, joined by dots. A flip-flop is called as the bit that it holds,
    where that has a name. An output that leads nowhere has a net of its own.
    """

    pins: list[str]
    names: list[str]
    nets: np.ndarray


@dataclass
class Memory:
    """One memory: nets of its inputs and of its outputs."""

    name: str
    macro: Macro
    inputs: list[int]
    outputs: list[int]


@dataclass
class Netlist:
    """Cells by their kind, memories, and the nets of the top module's ports."""

    cells: dict[str, Cells]
    memories: list[Memory]
    inputs: dict[str, int]
    outputs: dict[str, int]
    nets: int


def netlist(modules: Mapping[str, dict], top: str, library: Library) -> Netlist:
    """The netlist below a module of yosys' JSON (``write_json``, its ``modules``).

    Raises PenstockError for a cell that is neither of the library nor a memory.
    """
    return _Flattener(modules, library).run(top)


class _Flattener:
    def __init__(self, modules: Mapping[str, dict], library: Library):
        self.modules, self.library = modules, library
        self.count = CONSTANT + 1
        self.pins = {name: list(cell.pins) for name, cell in library.cells.items()}
        self.held = {
            name: [pin.name for pin in cell.pins_of("output")]
            for name, cell in library.cells.items()
            if cell.is_flip_flop
        }
        self.names: dict[str, list[str]] = {}
        self.rows: dict[str, list[list[int]]] = {}
        self.memories: list[Memory] = []

    def run(self, top: str) -> Netlist:
        nets: dict = {}
        ports = {"input": {}, "output": {}}
        for name, port in self.modules[top]["ports"].items():
            for index, bit in enumerate(port["bits"]):
                bit_name = f"{name}[{index}]" if len(port["bits"]) > 1 else name
                ports[port["direction"]][bit_name] = self._net(nets, bit)
        self._walk(top, "", nets)
        cells = {
            kind: Cells(self.pins[kind], names, np.array(self.rows[kind], dtype=np.int64))
            for kind, names in self.names.items()
        }
        return Netlist(cells, self.memories, ports["input"], ports["output"], self.count)

    def _net(self, nets: dict, bit) -> int:
        """The net of a module's bit, an integer or the text of a constant."""
        if isinstance(bit, str):
            return CONSTANT
        if bit not in nets:
            nets[bit] = self._new()
        return nets[bit]

    def _new(self) -> int:
        self.count += 1
        return self.count - 1

    def _bit_names(self, module: str) -> dict[int, str]:
        """Names that the design's author gave to a module's bits."""
        names = {}
        for name, net in self.modules[module]["netnames"].items():
            for index, bit in enumerate(net["bits"]):
                if not net["hide_name"]:
                    names.setdefault(bit, f"{name}[{index}]" if len(net["bits"]) > 1 else name)
        return names

    def _walk(self, module: str, path: str, nets: dict):
        bit_names = self._bit_names(module)
        for short, cell in self.modules[module]["cells"].items():
            kind, name = cell["type"], f"{path}{short}"
            bits = cell["connections"]
            if kind in self.pins:
                row = [
                    self._net(nets, bits[pin][0]) if bits.get(pin) else self._new()
                    for pin in self.pins[kind]
                ]
                held = [bits[pin][0] for pin in self.held.get(kind, ()) if bits.get(pin)]
                names = [f"{path}{bit_names[bit]}" for bit in held if bit in bit_names]
                self.names.setdefault(kind, []).append(names[0] if names else name)
                self.rows.setdefault(kind, []).append(row)
            elif macro := macro_of(kind):
                self.memories.append(self._memory(name, macro, nets, bits))
            elif kind in self.modules and "blackbox" not in self.modules[kind]["attributes"]:
                inner = {}
                for port, described in self.modules[kind]["ports"].items():
                    outside = bits.get(port, [])
                    for bit, there in zip(described["bits"], outside, strict=False):
                        inner[bit] = self._net(nets, there)
                self._walk(kind, f"{name}.", inner)
            elif not kind.startswith("$scopeinfo"):
                raise PenstockError(f"{name}: must be mapped to a cell of the library, is {kind}")

    def _memory(self, name: str, macro: Macro, nets: dict, bits: dict) -> Memory:
        inputs = [
            self._net(nets, bit)
            for port in ("read_address", "write_enable", "write_address", "write_data")
            for bit in bits[port]
        ]
        return Memory(name, macro, inputs, [self._net(nets, bit) for bit in bits["read_data"]])


def pins(
    netlist: Netlist, library: Library, direction: str
) -> Iterator[tuple[str, str, np.ndarray]]:
    """(cell, pin, net of each instance) of every pin of a direction, "input" or "output"."""
    for kind, cells in netlist.cells.items():
        for column, name in enumerate(cells.pins):
            if library.cells[kind].pins[name].direction == direction:
                yield kind, name, cells.nets[:, column]
