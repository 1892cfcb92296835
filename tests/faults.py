"""Faults at the ports of blocks under test, which their benches must catch."""

from collections.abc import Callable, Iterable

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

Change = Callable[..., Value]
"""What a port becomes: a function of the port and of the block's ports."""


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


def connect(
    m: Module,
    outside: wiring.PureInterface,
    block: wiring.Component,
    chosen: Signal,
    faults: Iterable[tuple[int, str, Change]],
):
    """Connect a block to its ports outside; ``chosen`` selects one of (number, port, change)."""
    faults = list(faults)
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
