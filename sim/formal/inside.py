"""A look into the blocks that are proven: the invariants of an induction speak of inner state."""

import sys

from amaranth.hdl import Assert, Module, Mux
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered


class Inside:
    """The local variables of a component's elaboration, by name, and its submodules.

    ``inside["name"]`` is the one thing that a local variable of that name stood for; ``every`` are
    all that it stood for, where a loop makes them. A KeyError tells the name that is missing or
    stands for several. ``block`` is a submodule seen the same way.

    The component is elaborated here, once and for all: as a submodule of the proof it brings what
    is seen here. That relies on two things: that elaboration is Python, whose functions with the
    component as ``self`` are traced line by line (``sys.settrace``), and that Amaranth calls the
    component's attribute ``elaborate``, which is replaced. Names are those of the source: who
    renames a variable renames it in the proof.
    """

    def __init__(self, component):
        self.component = component
        self._values, self._blocks = {}, {}
        former = sys.gettrace()
        sys.settrace(self._trace)
        try:
            self._module = module = component.elaborate(None)
        finally:
            sys.settrace(former)
        component.elaborate = lambda platform: module

    def _trace(self, frame, event, _):
        """Note the local variables at each line; Python traces the functions that return this."""
        names = frame.f_locals
        if names.get("self") is not self.component or frame.f_code.co_name.startswith("<"):
            return None  # another object's, or an expression of its own, as comprehensions are
        for name, value in names.items():
            known = self._values.setdefault(name, [])
            if not any(value is each for each in known):
                known.append(value)
        return self._trace

    def __getitem__(self, name: str):
        """What the local variable stood for."""
        found = self.every(name)
        if len(found) > 1:
            raise KeyError(f"{name!r} stands for {len(found)} things in {self._described()}")
        return found[0]

    def every(self, name: str) -> list:
        """All that the local variable stood for, in their order."""
        if name not in self._values:
            raise KeyError(f"no local variable {name!r} in {self._described()}")
        return self._values[name]

    def block(self, name: str) -> "Inside":
        """The submodule of that name."""
        if name not in self._blocks:
            component = getattr(self._module.submodules, name, None)
            if component is None:
                raise KeyError(f"no submodule {name!r} in {self._described()}")
            self._blocks[name] = Inside(component)
        return self._blocks[name]

    def _described(self) -> str:
        return f"the elaboration of {type(self.component).__name__}"


class InsideFifo:
    """A view into a SyncFIFO or SyncFIFOBuffered whose memory's depth is a power of two.

    ``level`` words are in it, ``at(place)`` is the one with ``place`` others ahead of it. Asserts
    what ties level and pointers together.
    """

    def __init__(self, m: Module, inside: Inside):
        self._m, self._fifo = m, inside.component
        self._storage, self._consume = inside["storage"], inside["consume"]
        self.level = self._fifo.level
        # A SyncFIFOBuffered has its first word in the memory's output register.
        self._first = {SyncFIFO: 0, SyncFIFOBuffered: self._fifo.r_rdy}[type(self._fifo)]
        stored, produce = self.level - self._first, inside["produce"]
        m.d.comb += [
            Assert((self.level >= self._first) & (stored <= self._storage.depth)),
            Assert(produce == (self._consume + stored)[: len(produce)]),
        ]

    def at(self, place):
        """The word with ``place`` others ahead of it, of ``level`` in all."""
        probe = self._storage.read_port(domain="comb")
        self._m.d.comb += probe.addr.eq(self._consume + place - self._first)
        return Mux((place == 0) & self._first, self._fifo.r_data, probe.data)
