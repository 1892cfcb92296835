"""What a board is to the rest of Penstock."""

import dataclasses
import importlib
from collections.abc import Callable
from dataclasses import dataclass

from amaranth.build import Platform
from amaranth.hdl import Elaboratable

from penstock.boards import BOARDS
from penstock.boards.devices import Ecp5
from penstock.config import Config
from penstock.errors import PenstockError


@dataclass(frozen=True, kw_only=True)
class BoardDescription:
    """A board with its device, and the configuration and clock of the core that it gets."""

    name: str
    device: Ecp5
    platform: type[Platform]  # pins, of amaranth-boards
    config: Config
    clock_hz: int
    top: Callable[[Config, int], Elaboratable]  # of configuration and clock_hz
    loader: str  # what openFPGALoader calls the board

    def design(self) -> Elaboratable:
        """The top, made of the device's primitives."""
        config = dataclasses.replace(self.config, target=self.device.target)
        return self.top(config, self.clock_hz)


def load_board(name: str) -> BoardDescription:
    """The board of that name. Raises PenstockError for any other, or without amaranth-boards."""
    if name not in BOARDS:
        raise PenstockError(f"board must be one of {', '.join(BOARDS)}, not {name!r}")
    try:
        return importlib.import_module(BOARDS[name]).BOARD
    except ModuleNotFoundError as error:
        if not error.name.startswith("amaranth_boards"):
            raise
        raise PenstockError(
            "boards: need amaranth-boards, which is not installed: pip install 'penstock[boards]'"
        ) from None
