"""The top of the Tang Nano 9K: its pins, and where those of the PSRAM lie inside the FPGA."""

import re
from pathlib import Path

import pytest

from penstock.boards.tang_nano_9k import CRYSTAL_HZ, TangNano9k, TangNano9kPins
from penstock.config import preset
from penstock.errors import PenstockError

PREFIX = {"rwds": "IO_psram_rwds", "dq": "IO_psram_dq"}
PREFIX |= {name: f"O_psram_{name}" for name in ("ck", "ck_n")}
PREFIX |= {name: f"O_psram_{name}_n" for name in ("cs", "reset")}
"""Pin of the resource -> the name that Gowin's tools know it by."""


@pytest.fixture(scope="module")
def files():
    top = TangNano9k(preset("icebreaker"), CRYSTAL_HZ)
    return TangNano9kPins().prepare(top, "top", emit_src=False).files


def sites(constraints: str) -> dict[str, str]:
    return dict(re.findall(r'^\s*IO_LOC "(.*)" (\w+);', constraints, re.MULTILINE))


def test_every_pad_has_a_site_of_its_own(files):
    placed = sites(files["top.cst"])
    names = {"clk27_0__io", "button_0__io", "uart_0__rx__io", "uart_0__tx__io"}
    names |= {f"led_{index}__io" for index in range(4)}
    names |= {f"psram_0__dq__io[{bit}]" for bit in range(16)}
    names |= {
        f"psram_0__{name}__io[{die}]"
        for name in ("reset", "cs", "ck", "ck_n", "rwds")
        for die in range(2)
    }
    assert set(placed) == names
    assert len(set(placed.values())) == len(placed)


def test_pads_of_the_psram_are_those_of_apicula(files):
    chipdb = pytest.importorskip("apycula.chipdb")
    path = Path(chipdb.__file__).with_name("GW1N-9C.msgpack.xz")
    known = {
        name: f"IOL{row + 1}{letter}"
        for name, row, column, letter, _ in chipdb.load_chipdb(path).sip_cst["GW1NR-9C"]["QFN88P"]
        if column == 0
    }
    placed = {}
    for pad, site in sites(files["top.cst"]).items():
        if found := re.fullmatch(r"psram_0__(\w+)__io(\[\d+\])", pad):
            placed[PREFIX[found[1]] + found[2]] = site
    assert placed == known


def test_another_clock_is_refused():
    with pytest.raises(PenstockError, match="clock_hz must be 27000000, its crystal's, not 2400"):
        TangNano9k(preset("icebreaker"), 24_000_000)
