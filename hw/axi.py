"""AXI4 and AXI4-Lite as Penstock speaks them (ARM IHI 0022, issue H): signals and their widths."""

from amaranth import Module
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out, Signature

REGISTER_ADDRESS_BITS = 12
"""The AXI4-Lite slave takes one page of 4 kB."""


class Response(enum.Enum, shape=2):
    """RRESP and BRESP; table A3-4."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


BURST_INCREMENTING = 1
CACHE_BUFFERABLE = 0b0011
"""Normal, non-cacheable, bufferable memory."""

PROTECTION_DATA = 0b000
"""Unprivileged, secure data access."""


def axi_lite_signature() -> Signature:
    """AXI4-Lite as the master sees it: 32 bits of data. The slave is ready before it is asked."""
    ready = In(1, init=1)
    address = {"addr": Out(REGISTER_ADDRESS_BITS), "prot": Out(3), "valid": Out(1), "ready": ready}
    return Signature(
        {f"aw{name}": member for name, member in address.items()}
        | {"wdata": Out(32), "wstrb": Out(4), "wvalid": Out(1), "wready": ready}
        | {"bresp": In(Response), "bvalid": In(1), "bready": Out(1)}
        | {f"ar{name}": member for name, member in address.items()}
        | {"rdata": In(32), "rresp": In(Response), "rvalid": In(1), "rready": Out(1)}
    )


def axi_signature(bits: int) -> Signature:
    """AXI4 as the master sees it: ``bits`` of data, 32-bit addresses, one ID."""
    address = {"id": Out(1), "addr": Out(32), "len": Out(8), "size": Out(3), "burst": Out(2)}
    address |= {"cache": Out(4), "prot": Out(3), "valid": Out(1), "ready": In(1)}
    data = {"data": Out(bits), "strb": Out(bits // 8), "last": Out(1), "valid": Out(1)}
    return Signature(
        {f"aw{name}": member for name, member in address.items()}
        | {f"w{name}": member for name, member in data.items()}
        | {"wready": In(1)}
        | {"bid": In(1), "bresp": In(Response), "bvalid": In(1), "bready": Out(1)}
        | {f"ar{name}": member for name, member in address.items()}
        | {"rid": In(1), "rdata": In(bits), "rresp": In(Response), "rlast": In(1)}
        | {"rvalid": In(1), "rready": Out(1)}
    )


def ports(prefix: str, signature: Signature) -> dict[str, wiring.Member]:
    """The members of a signature as flat ports, named as ARM does: ``m_axi_awaddr``."""
    return {f"{prefix}_{name}": signature.members[name] for name in signature.members}


def connect_ports(m: Module, component, prefix: str, interface):
    """Connect the flat ports of a component to the interface of one of its submodules."""
    for name, member in interface.signature.members.items():
        port, inner = getattr(component, f"{prefix}_{name}"), getattr(interface, name)
        m.d.comb += port.eq(inner) if member.flow == Out else inner.eq(port)
