"""Faults at the ports of blocks under test, which their benches must catch."""

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from penstock.config import Config
from penstock.sim.blocks import Blocks

Change = Callable[..., Value]
"""What a port becomes: a function of the port and of the block's ports."""

Faults = dict[str, tuple[str, str, Change]]
"""By name of the mistake: the block, its port, and what the port becomes."""


def stuck(value: int) -> Change:
    """The port always has this value."""
    return lambda port, ports: Const(value, len(Value.cast(port)))


def with_fields(**changes: Callable[..., Value]) -> Change:
    """Some fields of a payload are changed, each by a function of the payload."""

    def faulty(payload, ports):
        return Cat(
            Value.cast(changes[name](payload) if name in changes else payload[name])[: field.width]
            for name, field in payload.shape()
        )

    return faulty


def faulty(blocks: type[Blocks], cfg: Config, faults: Faults) -> Blocks:
    """The blocks with one fault, chosen by the port ``fault``: its number in ``faults``, from 1."""

    class Faulty(blocks):
        def connect(self, m: Module, name: str, block: wiring.Component):
            mine = [
                (number, port, change)
                for number, (owner, port, change) in enumerate(faults.values(), start=1)
                if owner == name
            ]
            _connect(m, getattr(self, name), block, self.fault, mine)

    return Faulty(cfg, fault=In(8))


def _connect(m: Module, outside, block: wiring.Component, chosen: Signal, faults: list):
    """Connect a block to its ports outside; ``chosen`` selects one of (number, port, change)."""
    inside = _ports(block)
    for name, (outer, flow) in _ports(outside).items():
        inner = inside[name][0]
        source, target = (outer, inner) if flow == In else (inner, outer)
        value = Value.cast(source)
        for number, port, change in faults:
            if port == name:
                value = Mux(chosen == number, Value.cast(change(source, outside)), value)
        if isinstance(Value.cast(target), Signal):
            m.d.comb += Value.cast(target).eq(value)


def _ports(interface) -> dict:
    """Value and direction of each port by its dotted name."""
    return {
        ".".join(map(str, path)): (value, member.flow)
        for path, member, value in interface.signature.flatten(interface)
    }
