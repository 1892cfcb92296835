"""Blocks of the compact engine side by side in one simulator, primitives also as on an iCE40."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from penstock.boards.spram import SpramMemory
from penstock.config import Config
from penstock.hw.compact.maps import ActivationMaps
from penstock.hw.compact.multiply import DualMultiplier, MultiplyAdder
from penstock.hw.compact.requantizer import Requantizer
from penstock.hw.compact.results import ResultWriter
from penstock.hw.compact.window import WindowAddress, WindowAlign, rotation_layout
from penstock.sim.blocks import Blocks

TARGETS = "generic", "ice40"
ADDERS = {
    "ninth": {},
    "low": {"holds_left": True, "holds_addend": True},
    "high": {"holds_left": True},
    "residual": {"holds_left": True, "holds_addend": True, "registers_right": True},
}
"""The uses of a MultiplyAdder: by what it holds."""


class CompactBlocks(Blocks):
    """Each block's ports, behind its name."""

    def make(self, cfg: Config) -> dict[str, wiring.Component]:
        blocks = {"window": CompactWindow(), "results": ResultWriter()}
        for target in TARGETS:
            blocks[f"dual_{target}"] = DualMultiplier(target=target)
            blocks[f"requantizer_{target}"] = Requantizer(target=target)
            blocks[f"spram_{target}"] = SpramMemory(target=target)
            blocks |= {
                f"{name}_{target}": MultiplyAdder(target=target, **held)
                for name, held in ADDERS.items()
            }
        return blocks


class CompactWindow(wiring.Component):
    """From a WINDOW entry and a channel to the taps, maps included; latency 1 cycle."""

    def __init__(self):
        self.address, self.maps, self.align = WindowAddress(), ActivationMaps(), WindowAlign()
        maps = self.maps.signature.members
        names = "window", "channel", "pointwise", "cell_step", "row_step", "row_phase"
        super().__init__(
            {name: self.address.signature.members[name] for name in names}
            | {name: maps[name] for name in ("input_buffer", "residual", "write")}
            | {"residual_word": Out(8), "taps": Out(self.align.signature.members["taps"].shape)}
        )
        self.names = names

    def elaborate(self, platform):
        m = Module()
        m.submodules.address = address = self.address
        m.submodules.maps = maps = self.maps
        m.submodules.align = align = self.align
        rotation = Signal(rotation_layout())
        m.d.sync += rotation.eq(address.rotation)
        m.d.comb += [getattr(address, name).eq(getattr(self, name)) for name in self.names]
        m.d.comb += [
            maps.address.eq(address.address),
            maps.input_buffer.eq(self.input_buffer),
            maps.residual.eq(self.residual),
            maps.write.eq(self.write),
            align.words.eq(maps.words),
            align.rotation.eq(rotation),
            self.taps.eq(align.taps),
            self.residual_word.eq(maps.residual_word),
        ]
        return m
