"""ULX3S with an LFE5U-25F: the same board with 28 multipliers and 56 block RAMs."""

from amaranth_boards.ulx3s import ULX3S_25F_Platform

from penstock.boards.description import BoardDescription
from penstock.boards.devices import LFE5U_25F
from penstock.boards.ulx3s_85f import Ulx3s
from penstock.config import preset

BOARD = BoardDescription(
    name="ulx3s-25f",
    device=LFE5U_25F,
    platform=ULX3S_25F_Platform,
    config=preset("ulx3s-25f"),
    clock_hz=75_000_000,
    top=Ulx3s,
    loader="ulx3s",
)
