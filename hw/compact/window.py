"""Where the nine operands of a step lie, and how they come into the order of the taps."""

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.channel_stream import WINDOW
from penstock.config import BANKS
from penstock.hw.compact.layouts import fields_layout

ADDRESS_BITS = 9
"""Of a bank: cell and channel, see docs/compact.md."""

CHANNEL_BITS = 8


def lookup(bits: int, function: Callable[..., int], *inputs):
    """``function`` of a few input bits as a table, so that synthesis sees no arithmetic."""
    index = Cat(inputs)
    values = []
    for value in range(1 << len(index)):
        parts, rest = [], value
        for each in inputs:
            parts.append(rest & (1 << len(each)) - 1)
            rest >>= len(each)
        values.append(function(*parts))
    columns = [
        sum((value >> bit & 1) << i for i, value in enumerate(values)) for bit in range(bits)
    ]
    return Cat(Const(column, 1 << len(index)).bit_select(index, 1) for column in columns)


def skew(channel) -> tuple:
    """(rows, columns) by which a channel's banks are rotated: channel % 8 divided by 3."""
    low = channel[:3]
    return lookup(2, lambda k: k // 3, low), lookup(2, lambda k: k % 3, low)


def rotation_layout() -> data.StructLayout:
    """How the words of the nine banks become the nine taps."""
    return data.StructLayout(
        {
            "row": 2,
            "columns": data.ArrayLayout(2, 3),  # of each row of banks
            "inside_rows": 3,
            "inside_columns": 3,
        }
    )


def place_layout() -> data.StructLayout:
    """One word of a map: bank row, bank column, address."""
    return data.StructLayout({"u": 2, "v": 2, "address": ADDRESS_BITS})


def place(entry, channel) -> tuple:
    """(u, v, address) of a pixel's PLACE entry and a channel."""
    rows, columns = skew(channel)
    u = lookup(2, lambda residue, a: (residue + a) % 3, entry.residue, rows)
    v = lookup(2, lambda phase, b: (phase + b) % 3, entry.phase, columns)
    return u, v, Cat(channel[:3], entry.cell | channel[3:])


class WindowAddress(wiring.Component):
    """Nine bank addresses of one window, and the rotation of what they hold.

    Combinational. 3x3: one channel of all nine pixels; 1x1: eight channels of one pixel, channel
    ``channel + k`` at tap k. ``cell_step``, ``row_step``, ``row_phase``: see channel_stream.LAYER.
    """

    def __init__(self):
        super().__init__(
            {
                "window": In(fields_layout(WINDOW)),
                "channel": In(CHANNEL_BITS),
                "pointwise": In(1),
                "cell_step": In(6),
                "row_step": In(6),
                "row_phase": In(2),
                "address": Out(data.ArrayLayout(ADDRESS_BITS, BANKS)),
                "rotation": Out(rotation_layout()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        window, rotation = self.window, self.rotation
        rows, columns = skew(self.channel)
        phases = Signal(2), Signal(2)  # of the window's upper rows, of those behind the next third
        cells = Signal(6), Signal(6)
        wraps = lookup(1, lambda p, q: p + q >= 3, window.phase, self.row_phase)
        m.d.comb += [
            phases[0].eq(window.phase),
            phases[1].eq(lookup(2, lambda p, q: (p + q) % 3, window.phase, self.row_phase)),
            cells[0].eq(window.cell),
            cells[1].eq(window.cell + self.row_step + Mux(wraps, self.cell_step, 0)),
            rotation.row.eq(lookup(2, lambda r, a: (r + a) % 3, window.residue, rows)),
            rotation.inside_rows.eq(window.rows),
            rotation.inside_columns.eq(window.columns),
        ]
        for u in range(3):
            below = Signal(name=f"below_{u}")
            phase, cell = Signal(2, name=f"phase_{u}"), Signal(6, name=f"cell_{u}")
            next_cell = Signal(6, name=f"next_cell_{u}")
            m.d.comb += [
                below.eq(
                    lookup(1, lambda r, a, u=u: r + (u - r - a) % 3 >= 3, window.residue, rows)
                ),
                phase.eq(Mux(below, phases[1], phases[0])),
                cell.eq(Mux(below, cells[1], cells[0])),
                next_cell.eq(cell + self.cell_step),
                rotation.columns[u].eq(lookup(2, lambda p, b: (p + b) % 3, phase, columns)),
            ]
            for v in range(3):
                beyond = lookup(1, lambda p, b, v=v: p + (v - p - b) % 3 >= 3, phase, columns)
                lane = lookup(
                    3,
                    lambda r, p, u=u, v=v: (3 * ((u - r) % 3) + (v - p) % 3) % 8,
                    window.residue,
                    window.phase,
                )
                m.d.comb += self.address[3 * u + v].eq(
                    Cat(
                        Mux(self.pointwise, lane, self.channel[:3]),
                        Mux(beyond, next_cell, cell) | self.channel[3:],
                    )
                )
        return m


class WindowAlign(wiring.Component):
    """``taps[3*i + j]`` from the words of the nine banks; 0 outside the map. Combinational."""

    def __init__(self):
        super().__init__(
            {
                "words": In(data.ArrayLayout(8, BANKS)),
                "rotation": In(rotation_layout()),
                "taps": Out(data.ArrayLayout(8, BANKS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rotation = self.rotation
        turned = [[Signal(8, name=f"turned_{u}{j}") for j in range(3)] for u in range(3)]
        for u in range(3):
            for j in range(3):
                words = [self.words[3 * u + (j + turn) % 3] for turn in range(3)]
                m.d.comb += turned[u][j].eq(_choose(words, rotation.columns[u]))
        for i in range(3):
            for j in range(3):
                choice = Signal(2, name=f"choice_{i}{j}")
                m.d.comb += choice.eq(
                    lookup(
                        2,
                        lambda turn, row, column: turn if row and column else 3,
                        rotation.row,
                        rotation.inside_rows[i],
                        rotation.inside_columns[j],
                    )
                )
                rows = [turned[(i + turn) % 3][j] for turn in range(3)]
                m.d.comb += self.taps[3 * i + j].eq(_choose(rows, choice))
        return m


def _choose(choices, index):
    """choices[index] of three; 0 for index 3."""
    return Mux(index[1], Mux(index[0], 0, choices[2]), Mux(index[0], choices[1], choices[0]))
