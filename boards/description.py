"""What a board is to the rest of Penstock."""

import dataclasses
import importlib
from collections.abc import Callable
from dataclasses import dataclass

from amaranth.build import Platform
from amaranth.hdl import Elaboratable

from penstock.boards import BOARDS
from penstock.boards.family import Device
from penstock.config import TARGETS, Config
from penstock.errors import PenstockError


@dataclass(frozen=True, kw_only=True)
class BoardDescription:
    """A board with its device, and the configuration and clock of the core that it gets."""

    name: str
    device: Device
    platform: type[Platform]  # pins, of amaranth-boards
    config: Config
    clock_hz: int
    top: Callable[[Config, int], Elaboratable]  # of configuration and clock_hz
    loader: str  # what openFPGALoader calls the board

    def design(self) -> Elaboratable:
        """The top, made of the device's primitives.

        Raises PenstockError where the configuration's engine has none of that device.
        """
        target = self.device.family.target
        if target not in TARGETS[self.config.engine]:
            raise PenstockError(
                f"{self.name}: configuration {self.config.name} has the engine "
                f"{self.config.engine}, which is not made for {self.device.name}"
            )
        return self.top(dataclasses.replace(self.config, target=target), self.clock_hz)


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
