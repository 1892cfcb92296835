"""Static timing analysis of a mapped netlist with the tables of its library.

Graph-based and late: the latest arrival and the slowest transition meet at each net. Wires have
neither capacitance nor delay, the clock reaches every flip-flop at once with a transition of 0.
Ports and memories give their signals at 0 and take them without a setup time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from penstock.boards.liberty import EDGES, Library, Table
from penstock.boards.mapped import Netlist, pins
from penstock.boards.tables import Tables
from penstock.errors import PenstockError


@dataclass(frozen=True)
class TimingPath:
    """A path: names of the flip-flops, memories or ports where it starts and ends.

    ``delay`` ns from the clock edge to the end, ``setup`` ns before the next edge, ``cells`` gates
    between.
    """

    start: str
    end: str
    delay: float
    setup: float
    cells: int

    @property
    def time(self) -> float:
        """The clock period that it needs, ns."""
        return self.delay + self.setup


class Timing:
    """Arrival times of a netlist. Nodes are the two edges of each net: ``2 * net + edge``."""

    def __init__(self, netlist: Netlist, library: Library):
        self.netlist, self.library = netlist, library
        self.load = loads(netlist, library).reshape(-1)
        nodes = 2 * netlist.nets
        self.arrival = np.full(nodes, -np.inf)
        self.transition = np.zeros(nodes)
        self._tables: list[Table] = []
        self._table_index: dict[int, int] = {}
        self._before = np.full(nodes, -1)
        self._collect()
        self._launch()
        self._propagate()

    # Collecting.

    def _table(self, table: Table) -> int:
        if id(table) not in self._table_index:
            self._table_index[id(table)] = len(self._tables)
            self._tables.append(table)
        return self._table_index[id(table)]

    def _collect(self):
        """Every arc of every instance: through gates, and from the clock to flip-flops' outputs."""
        gates, launches = [], []
        for kind, output, nets in pins(self.netlist, self.library, "output"):
            cell = self.library.cells[kind]
            columns = {name: index for index, name in enumerate(self.netlist.cells[kind].pins)}
            for arc in cell.pins[output].arcs:
                source = self.netlist.cells[kind].nets[:, columns[arc.source]]
                tables = self._table(arc.delay), self._table(arc.transition)
                rows = [2 * source + arc.source_edge, 2 * nets + arc.edge]
                rows += [np.full(nets.size, table) for table in tables]
                (launches if cell.is_flip_flop else gates).append(np.stack(rows))
        self._setups = []
        for kind, pin, nets in pins(self.netlist, self.library, "input"):
            for setup in self.library.cells[kind].pins[pin].setups:
                self._setups.append((kind, nets, setup.edge, self._table(setup.time)))
        self._gates = np.concatenate([np.zeros((4, 0), dtype=np.int64), *gates], axis=1)
        self._launches = np.concatenate([np.zeros((4, 0), dtype=np.int64), *launches], axis=1)
        self._lookup = Tables(self._tables)

    def _launch(self):
        """Where paths start: flip-flops, memories, input ports."""
        _, node, delay, transition = self._launches
        zero = np.zeros(node.size)
        np.maximum.at(self.arrival, node, self._lookup.look_up(delay, zero, self.load[node]))
        slew = self._lookup.look_up(transition, zero, self.load[node])
        np.maximum.at(self.transition, node, slew)
        others = list(self.netlist.inputs.values())
        others += [net for memory in self.netlist.memories for net in memory.outputs]
        for net in others:
            self.arrival[2 * net : 2 * net + 2] = 0

    # Arrival times.

    def _propagate(self):
        """Level by level: the nodes whose sources all are done."""
        source, node, delay, transition = self._gates
        missing = np.bincount(node, minlength=self.arrival.size)
        by_source = np.argsort(source, kind="stable")
        first = np.searchsorted(source[by_source], np.arange(self.arrival.size + 1))
        by_node = np.argsort(node, kind="stable")
        first_in = np.searchsorted(node[by_node], np.arange(self.arrival.size + 1))
        done = np.flatnonzero(missing == 0)
        while done.size:
            reached = node[by_source[_ranges(first, done)]]
            np.subtract.at(missing, reached, 1)
            done = np.unique(reached[missing[reached] == 0])
            if done.size:
                edges = by_node[_ranges(first_in, done)]
                before, load = source[edges], self.load[node[edges]]
                slew = self.transition[before]
                time = self.arrival[before] + self._lookup.look_up(delay[edges], slew, load)
                slews = self._lookup.look_up(transition[edges], slew, load)
                counts = first_in[done + 1] - first_in[done]
                begin = np.cumsum(counts) - counts
                self.arrival[done] = np.maximum.reduceat(time, begin)
                slews = np.where(np.isfinite(time), slews, 0)
                self.transition[done] = np.maximum.reduceat(slews, begin)
                latest = np.flatnonzero(time == np.repeat(self.arrival[done], counts))[::-1]
                self._before[node[edges[latest]]] = before[latest]
        if missing.any():
            name = self._driver(int(np.flatnonzero(missing)[0]) // 2)
            raise PenstockError(f"netlist must have no loop of gates, has one through {name}")

    # Paths.

    def longest(self, block_of: Callable[[str], str]) -> dict[str, TimingPath]:
        """The path of each block that needs most time; it belongs to the block where it ends.

        ``block_of`` gives the block of an instance or a port. Blocks where no path ends are absent.
        """
        ends: dict[str, tuple[float, float, int, str]] = {}  # time, setup, node, name

        def offer(times: np.ndarray, setups: np.ndarray, nodes: np.ndarray, names: Sequence[str]):
            blocks = np.array([block_of(name) for name in names])
            for block in np.unique(blocks):
                chosen = np.flatnonzero(blocks == block)
                worst = chosen[np.argmax(times[chosen])]
                found = times[worst], setups[worst], int(nodes[worst]), names[worst]
                if np.isfinite(found[0]):
                    ends[block] = max(ends.get(block, found), found)

        for kind, nets, edge, table in self._setups:
            nodes = 2 * nets + edge
            index, zero = np.full(nodes.size, table), np.zeros(nodes.size)
            setup = self._lookup.look_up(index, zero, self.transition[nodes])
            names = self.netlist.cells[kind].names
            offer(self.arrival[nodes] + setup, setup, nodes, names)
        others = [(memory.name, net) for memory in self.netlist.memories for net in memory.inputs]
        others += self.netlist.outputs.items()
        for edge in range(len(EDGES)):
            nodes = np.array([2 * net + edge for _, net in others], dtype=np.int64)
            offer(self.arrival[nodes], np.zeros(nodes.size), nodes, [name for name, _ in others])
        return {block: self._path(*end) for block, end in sorted(ends.items())}

    def _path(self, time: float, setup: float, node: int, end: str) -> TimingPath:
        cells = 0
        while self._before[node] >= 0:
            node, cells = int(self._before[node]), cells + 1
        return TimingPath(self._driver(node // 2), end, float(time - setup), float(setup), cells)

    def _driver(self, net: int) -> str:
        """The cell, memory or port that drives a net."""
        for kind, _, nets in pins(self.netlist, self.library, "output"):
            found = np.flatnonzero(nets == net)
            if found.size:
                return self.netlist.cells[kind].names[found[0]]
        for memory in self.netlist.memories:
            if net in memory.outputs:
                return memory.name
        return next(name for name, port in self.netlist.inputs.items() if port == net)


def loads(netlist: Netlist, library: Library) -> np.ndarray:
    """What each net drives, pF, for its rising and its falling edge: (nets, 2) float64.

    Pins of cells; memories, ports and wires count nothing.
    """
    result = np.zeros((netlist.nets, len(EDGES)))
    for kind, pin, nets in pins(netlist, library, "input"):
        np.add.at(result, nets, library.cells[kind].pins[pin].capacitance)
    return result


def _ranges(first: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Indices ``first[r] .. first[r + 1]`` of every row r, one after another."""
    counts = first[rows + 1] - first[rows]
    begin = np.cumsum(counts) - counts
    return np.repeat(first[rows] - begin, counts) + np.arange(counts.sum())
