"""Resets that reach their registers in time."""

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal, Signal


def own_reset(m: Module, component, name: str, *, init: int):
    """The component, in a domain of its own on the clock of ``sync``, reset one cycle later.

    A reset's wires alone take much of a cycle: this one comes from a flip-flop near the component.
    Of two that begin with the same ``init`` synthesis would make one.
    """
    m.domains += ClockDomain(name, local=True)
    reset = Signal(init=init, name=f"{name}_reset", reset_less=True)
    m.d.sync += reset.eq(ResetSignal())
    m.d.comb += [ClockSignal(name).eq(ClockSignal()), ResetSignal(name).eq(reset)]
    return DomainRenamer(name)(component)
