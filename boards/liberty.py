"""The cells of a Liberty library: area, pins and timing tables.

Source: Liberty User Guide, volume 1, the non-linear delay model (table_lookup).
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from penstock.boards.boolean import truth_table
from penstock.boards.liberty_syntax import Group, liberty_text, parse
from penstock.errors import PenstockError

EDGES = "rise", "fall"
"""Index 0 and 1 of everything that a rising and a falling signal have apart."""

_SOURCES = {  # edge of the input for each edge of the output, by timing_type or timing_sense
    "positive_unate": ([0], [1]),
    "negative_unate": ([1], [0]),
    "non_unate": ([0, 1], [0, 1]),
    "rising_edge": ([0], [0]),
    "falling_edge": ([1], [1]),
}
_AXES = {
    "input_net_transition": 0,
    "total_output_net_capacitance": 1,
    "related_pin_transition": 0,
    "constrained_pin_transition": 1,
}
_SETUPS = {"setup_rising": 0, "setup_falling": 1}


@dataclass(frozen=True)
class Table:
    """``values[i, j]``, ns, at ``first[i]`` and ``second[j]``, both ascending.

    Of a delay or a transition: transition of the input (ns), load (pF). Of a setup time: transition
    of the clock, transition of the data (ns). An axis of one entry: it makes no difference.
    """

    first: np.ndarray
    second: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Arc:
    """From one edge of an input pin to one edge of an output; edges as in EDGES."""

    source: str
    source_edge: int
    edge: int
    delay: Table
    transition: Table


@dataclass(frozen=True)
class Setup:
    """How long before an edge of the pin ``clock`` an edge of the data must have come."""

    clock: str
    edge: int
    time: Table


@dataclass
class Pin:
    """``capacitance`` of a rising and a falling signal, pF; ``arcs`` end at it, if an output."""

    name: str
    direction: str
    capacitance: tuple[float, float]
    function: str | None = None
    max_capacitance: float | None = None
    arcs: list[Arc] = field(default_factory=list)
    setups: list[Setup] = field(default_factory=list)


@dataclass
class Cell:
    """``area`` in the library's unit; ``usable`` is False for cells that are not to be used."""

    name: str
    area: float
    pins: dict[str, Pin]
    is_gate: bool
    is_flip_flop: bool
    usable: bool

    def pins_of(self, direction: str) -> list[Pin]:
        """Its pins of a direction, "input" or "output"."""
        return [pin for pin in self.pins.values() if pin.direction == direction]

    def computes(self, function: Callable[..., bool], inputs: int) -> bool:
        """Whether it is a gate of one output and so many inputs that computes this function."""
        names = [pin.name for pin in self.pins_of("input")]
        outputs = self.pins_of("output")
        if not self.is_gate or len(names) != inputs or len(outputs) != 1:
            return False
        rows = itertools.product((False, True), repeat=inputs)
        return truth_table(outputs[0].function, names) == [function(*row) for row in rows]


@dataclass
class Library:
    """Cells by name; times in ns and capacitances in pF, whatever the units of the file."""

    name: str
    cells: dict[str, Cell]

    def gates(self, function: Callable[..., bool], inputs: int) -> list[Cell]:
        """The usable gates that compute a function, the smallest first."""
        found = [c for c in self.cells.values() if c.usable and c.computes(function, inputs)]
        return sorted(found, key=lambda cell: (cell.area, cell.name))

    @property
    def nand2(self) -> Cell:
        """The cell that gate equivalents count: the smallest NAND of two inputs."""
        return self.gates(lambda a, b: not (a and b), 2)[0]

    @property
    def buffers(self) -> list[Cell]:
        """Gates whose output is their input, the smallest first."""
        return self.gates(lambda a: a, 1)


def read_liberty(path: Path, dont_use: Sequence[str] = ()) -> Library:
    """The library in a Liberty file, plain or compressed by gzip.

    ``dont_use`` are patterns such as ``*probe*`` of cells that are not to be used, beside those
    that the file itself marks. Raises PenstockError for a file that is no Liberty, and for a
    library that has no flip-flop, NAND gate of two inputs or buffer to use.
    """
    library = _library(parse(liberty_text(path), path), path, dont_use)
    if not any(cell.is_flip_flop and cell.usable for cell in library.cells.values()):
        raise PenstockError(f"{path}: must have a flip-flop to use, has none")
    if not library.gates(lambda a, b: not (a and b), 2):
        raise PenstockError(f"{path}: must have a NAND gate of two inputs to use, has none")
    if not library.buffers:
        raise PenstockError(f"{path}: must have a buffer to use, has none")
    return library


def _library(group: Group, path: Path, dont_use: Sequence[str]) -> Library:
    cells = {}
    try:
        reader = _Reader(group)
        for each in group.every("cell"):
            cell = reader.cell(each)
            cell.usable &= not any(fnmatchcase(cell.name, pattern) for pattern in dont_use)
            cells[cell.name] = cell
    except PenstockError as error:
        raise PenstockError(f"{path}: {error}") from None
    return Library(group.arguments[0], cells)


class _Reader:
    """Makes cells of the groups of one library."""

    def __init__(self, library: Group):
        self.time = _unit(library.values.get("time_unit", "1ns"), "s", 1e9)
        scale, unit = library.lists.get("capacitive_load_unit", ("1", "pf"))
        self.capacitance = _unit(f"{scale}{unit}", "f", 1e12)
        self.input_capacitance = library.values.get("default_input_pin_cap", "0")
        self.templates = {each.arguments[0]: each for each in library.every("lu_table_template")}

    def cell(self, group: Group) -> Cell:
        """A cell. Raises PenstockError for one that breaks a rule, with its name."""
        try:
            return self._cell(group)
        except (KeyError, IndexError, ValueError) as error:
            name = group.arguments[0] if group.arguments else "without a name"
            raise PenstockError(f"cell {name} must be one of look-up tables ({error!r})") from None

    def _cell(self, group: Group) -> Cell:
        pins = {
            name: self._pin(each, name) for each in group.every("pin") for name in each.arguments
        }
        kinds = {each.kind for each in group.groups}
        outputs = [pin for pin in pins.values() if pin.direction == "output"]
        state = kinds & {"ff", "latch", "ff_bank", "latch_bank", "statetable", "bus", "bundle"}
        three_state = any("three_state" in each.values for each in group.every("pin"))
        return Cell(
            name=group.arguments[0],
            area=float(group.values.get("area", 0)),
            pins=pins,
            is_gate=not state and not three_state and all(pin.function for pin in outputs),
            is_flip_flop=state == {"ff"},
            usable=group.values.get("dont_use") != "true",
        )

    def _pin(self, group: Group, name: str) -> Pin:
        values = group.values
        capacitance = values.get("capacitance", self.input_capacitance)
        edges = [float(values.get(f"{edge}_capacitance", capacitance)) for edge in EDGES]
        limit = values.get("max_capacitance")
        pin = Pin(
            name,
            direction=values["direction"],
            capacitance=tuple(edge * self.capacitance for edge in edges),
            function=values.get("function"),
            max_capacitance=None if limit is None else float(limit) * self.capacitance,
        )
        for timing in group.every("timing"):
            kind = timing.values.get("timing_type", "combinational")
            if kind == "combinational":
                kind = timing.values.get("timing_sense", "non_unate")
            for source in timing.values.get("related_pin", "").split():
                if kind in _SOURCES:
                    pin.arcs += self._arcs(timing, kind, source)
                elif kind in _SETUPS:
                    pin.setups += self._setups(timing, source)
        return pin

    def _arcs(self, timing: Group, kind: str, source: str) -> Iterator[Arc]:
        for edge, name in enumerate(EDGES):
            for delay, transition in zip(
                timing.every(f"cell_{name}"), timing.every(f"{name}_transition"), strict=True
            ):
                tables = self._table(delay), self._table(transition)
                for source_edge in _SOURCES[kind][edge]:
                    yield Arc(source, source_edge, edge, *tables)

    def _setups(self, timing: Group, clock: str) -> Iterator[Setup]:
        for edge, name in enumerate(EDGES):
            for table in timing.every(f"{name}_constraint"):
                yield Setup(clock, edge, self._table(table))

    def _table(self, group: Group) -> Table:
        template = self.templates.get(group.arguments[0], Group("", []))
        axes, order = [np.zeros(1), np.zeros(1)], []
        for index in (1, 2):
            variable = template.values.get(f"variable_{index}")
            if variable is not None:
                order.append(_AXES[variable])
                texts = group.lists.get(f"index_{index}") or template.lists[f"index_{index}"]
                load = variable == "total_output_net_capacitance"
                axes[order[-1]] = _numbers(texts) * (self.capacitance if load else self.time)
        values = _numbers(group.lists["values"]).reshape([axes[axis].size for axis in order])
        if order == [1, 0]:
            values = values.T
        return Table(*axes, values.reshape(axes[0].size, axes[1].size) * self.time)


def _unit(text: str, unit: str, scale: float) -> float:
    """How many ns or pF a unit such as ``10ps`` or ``1ff`` is."""
    match = re.fullmatch(rf"([\d.eE+-]+)([munpf]?){unit}", text, re.IGNORECASE)
    if match is None:
        raise PenstockError(f"unit must be one such as 1n{unit}, not {text!r}")
    exponent = {"": 0, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15}[match[2].lower()]
    return float(match[1]) * 10.0**exponent * scale


def _numbers(texts: Sequence[str]) -> np.ndarray:
    return np.array(re.sub(r"[,\\]", " ", " ".join(texts)).split(), dtype=float)
