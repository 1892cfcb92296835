"""Verilog text of a component."""

from amaranth.back import verilog
from amaranth.hdl import Fragment, Signal, Value
from amaranth.hdl._ir import PortDirection  # what amaranth.back.verilog.convert itself uses
from amaranth.lib import wiring

_DIRECTIONS = {wiring.In: PortDirection.Input, wiring.Out: PortDirection.Output}


def component_ports(component: wiring.Component) -> dict[str, tuple[Signal, PortDirection]]:
    """Signal and direction of each port by its Verilog name (``memory__read_request__payload``).

    Clock and reset are left out. A member whose value its signature fixes, such as ``ready`` of
    an always-ready stream, is no port.
    """
    ports = {}
    for path, member, value in component.signature.flatten(component):
        signal = Value.cast(value)
        if isinstance(signal, Signal):
            ports["__".join(map(str, path))] = signal, _DIRECTIONS[member.flow]
    return ports


def to_verilog(component: wiring.Component, name: str) -> str:
    """The component and everything below it as one Verilog file, the top module called ``name``.

    Ports are those of `component_ports`, plus ``clk`` and the active-high synchronous ``rst`` where
    there is a clock. (``amaranth.back.verilog.convert`` alone refuses always-ready streams: their
    ready is a constant.)
    """
    text, _ = verilog.convert_fragment(
        Fragment.get(component, None),
        ports=component_ports(component),
        name=name,
        emit_src=False,
        strip_internal_attrs=True,
    )
    return text
