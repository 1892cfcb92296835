"""Liberty files: what is read of them, and which are refused."""

import gzip

import numpy as np
import pytest
import small_liberty
from shared_data import shared

from penstock.boards.boolean import truth_table
from penstock.boards.liberty import read_liberty
from penstock.errors import PenstockError

SKY130 = shared("data/liberty/sky130hd_tt.lib.gz")


@pytest.fixture
def read(tmp_path):
    """Reads a library from its text."""

    def read(text: str, **options):
        path = tmp_path / "small.lib"
        path.write_text(text)
        return read_liberty(path, **options)

    return read


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("!A", "1100"),
        ("A'", "1100"),
        ("A B", "0001"),
        ("A&B", "0001"),
        ("(A*B)'", "1110"),
        ("(!A) | (!B)", "1110"),
        ("A+B", "0111"),
        ("A^B", "0110"),
        ("A ^ B & A", "0010"),
        ("!A B + A", "0111"),
        ("!(A | 0) ^ 1", "0011"),
    ],
)
def test_functions(text, values):
    assert truth_table(text, ["A", "B"]) == [value == "1" for value in values]


@pytest.mark.parametrize("text", ["A +", "(A", "A)", "C", "A & & B", ""])
def test_what_is_no_function(text):
    with pytest.raises(PenstockError, match=r"^function must be of input pins and operators, not "):
        truth_table(text, ["A", "B"])


def test_cells(read):
    library = read(small_liberty.small_liberty())
    assert library.name == "small"
    assert list(library.cells) == [*small_liberty.GATES, "DFF"]
    assert (library.nand2.name, library.nand2.area) == ("NAND2", 2.5)
    assert [cell.name for cell in library.buffers] == ["BUF"]
    dff = library.cells["DFF"]
    assert dff.is_flip_flop and not dff.is_gate and library.cells["INV"].is_gate
    assert dff.pins["D"].capacitance == (0.002, 0.0015)
    setup = dff.pins["D"].setups[1]
    assert (setup.clock, setup.edge) == ("CK", 1)
    assert setup.time.values[0].tolist() == pytest.approx([0.07, 0.09, 0.27])
    arcs = [(a.source, a.source_edge, a.edge) for a in library.cells["XOR2"].pins["Y"].arcs]
    assert arcs == [(pin, source, edge) for pin in "AB" for edge in (0, 1) for source in (0, 1)]
    arcs = [(a.source_edge, a.edge) for a in library.cells["INV"].pins["Y"].arcs]
    assert arcs == [(1, 0), (0, 1)]
    assert {(a.source, a.source_edge) for a in dff.pins["Q"].arcs} == {("CK", 0)}


def test_units_and_axes(read):
    """Tables in ps and fF, axes the other way round, or only one of them."""
    text = small_liberty.small_liberty()
    plain = read(text).cells["INV"].pins["Y"].arcs[0].delay
    other = text.replace('"1ns"', '"10ps"').replace("(1, pf)", '(1.0, "ff")')
    scaled = read(other).cells["INV"].pins["Y"].arcs[0].delay
    assert np.allclose(scaled.values, plain.values * 1e-2, rtol=1e-12, atol=0)
    assert np.allclose(scaled.first, plain.first * 1e-2, rtol=1e-12, atol=0)
    assert np.allclose(scaled.second, plain.second * 1e-3, rtol=1e-12, atol=0)

    swapped = text.replace("variable_1 : input_net", "variable_3 : input_net", 1)
    swapped = swapped.replace("variable_2 : total", "variable_1 : total", 1)
    swapped = swapped.replace("variable_3 : input_net", "variable_2 : input_net", 1)
    table = read(swapped).cells["INV"].pins["Y"].arcs[0].delay
    assert table.values.tolist() == plain.values.T.tolist()
    assert table.first.tolist() == plain.second.tolist()

    one = 'cell_rise (scalar) { values("0.25"); }'
    begin = text.index("cell_rise")
    end = text.index("}", begin) + 1
    table = read(text[:begin] + one + text[end:]).cells["INV"].pins["Y"].arcs[0].delay
    assert table.values.tolist() == [[0.25]]


def test_compressed_file_is_the_same(tmp_path, read):
    text = small_liberty.small_liberty()
    (tmp_path / "small.lib.gz").write_bytes(gzip.compress(text.encode()))
    assert list(read_liberty(tmp_path / "small.lib.gz").cells) == list(read(text).cells)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "must be a Liberty file: line 1 has its end"),
        (lambda text: "module x;\nendmodule\n", "must be a Liberty file: line 1 has 'module x;'"),
        (lambda text: text[:-2], "must be a Liberty file: line .* has its end"),
        (lambda text: text + "}", "must be a Liberty file: line .* has '}'"),
        (lambda text: text.replace("area : 2.0", "area = 2.0"), "line 10 has 'area = 2.0; pin"),
        (lambda text: text.replace('"1ns"', '"1 hour"'), "unit must be one such as 1ns, not"),
        (
            lambda text: text.replace("area : 2.0", "area : big"),
            "cell INV must be one of look-up tables .*'big'",
        ),
        (
            lambda text: text.replace("(delays) {", '(delays) { index_1("1");', 3),
            "cell INV must be one of look-up",
        ),
        (lambda text: text.replace("direction : output;", "", 1), "cell INV must .*'direction'"),
    ],
)
def test_what_is_no_liberty(change, message, read, tmp_path):
    with pytest.raises(PenstockError, match=rf"^{tmp_path}/small\.lib: .*{message}"):
        read(change(small_liberty.small_liberty()))


def test_unreadable_files(tmp_path):
    with pytest.raises(PenstockError, match=r"none: must be a readable Liberty file \(No such"):
        read_liberty(tmp_path / "none")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"library (x) { }" * 99)[:-9])
    with pytest.raises(PenstockError, match=r"cut\.gz: must be a readable Liberty file \("):
        read_liberty(tmp_path / "cut.gz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"without": ("DFF",)}, "a flip-flop to use, has none"),
        ({"flip_flop": "dont_use : true;"}, "a flip-flop to use, has none"),
        ({"without": ("NAND2", "NAND2_X2")}, "a NAND gate of two inputs to use, has none"),
        ({"without": ("BUF",)}, "a buffer to use, has none"),
    ],
)
def test_libraries_that_cannot_map(options, message, read):
    with pytest.raises(PenstockError, match=f"must have {message}"):
        read(small_liberty.small_liberty(**options))


def test_cells_not_to_use(read):
    library = read(small_liberty.small_liberty(), dont_use=["NAND2", "X*2"])
    assert library.nand2.name == "NAND2_X2"
    assert [c.name for c in library.cells.values() if not c.usable] == ["NAND2", "XOR2", "XNOR2"]
    with pytest.raises(PenstockError, match="must have a flip-flop to use"):
        read(small_liberty.small_liberty(), dont_use=["D*"])


@pytest.mark.skipif(SKY130 is None, reason="no sky130 library here")
def test_real_library():
    library = read_liberty(SKY130, ["*lpflow*"])
    assert len(library.cells) == 428
    assert (library.nand2.name, library.nand2.area) == ("sky130_fd_sc_hd__nand2_1", 3.7536)
    output = library.cells["sky130_fd_sc_hd__dfxtp_1"].pins["Q"]
    assert output.max_capacitance == 0.162058
    rise = next(arc for arc in output.arcs if arc.edge == 0)
    assert rise.delay.values[0, 0] == 0.2692208
    assert sum(cell.is_flip_flop for cell in library.cells.values()) == 45
