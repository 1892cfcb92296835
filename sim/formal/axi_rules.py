"""Rules that streams and AXI channels keep, and a look into the blocks that are proven.

Sections are those of the AMBA AXI protocol specification, ARM IHI 0022, issue H.
"""

import sys

from amaranth.hdl import Assert, Assume, Cover, Module, Signal, Value

PAGE = 4096
"""Bytes; no burst crosses a boundary of that size (A3.4.1)."""


def hold(m: Module, name: str, valid, ready, payload, claim=Assert, *, in_row=True, dropped=0):
    """VALID, once high, stays until READY, and its payload with it (A3.2.1).

    ``claim`` is Assume where the surroundings promise it. Where the block does, a transfer that had
    to wait is covered and, unless it makes a pause between them, two in a row.
    """
    payload = Value.cast(payload)
    waits, held = Signal(name=f"{name}_waits"), Signal(payload.shape(), name=f"{name}_held")
    m.d.sync += [waits.eq(valid & ~ready), held.eq(payload)]
    with m.If(waits & (dropped == 0)):
        m.d.comb += claim(valid & (payload == held))
    if claim is Assume:  # nothing to show of the surroundings
        return
    m.d.comb += Cover(waits & valid & ready)
    if in_row:
        moved = Signal(name=f"{name}_moved")
        m.d.sync += moved.eq(valid & ready)
        m.d.comb += Cover(moved & valid & ready)


def hold_stream(m: Module, name: str, stream, claim=Assert, *, unless=0, in_row=True, dropped=0):
    """The same for a stream; a word may be withdrawn in the cycle behind one with ``unless``.

    It may vanish while ``dropped`` is high, too.
    """
    taken = stream.ready | unless
    hold(m, name, stream.valid, taken, stream.payload, claim, in_row=in_row, dropped=dropped)


def moves(stream) -> Value:
    """A word is transferred in this cycle."""
    return stream.valid & stream.ready


def tally(m: Module, name: str, bits: int, up, down):
    """How many more times ``up`` than ``down`` came so far, or the sum of what they are."""
    count = Signal(bits, name=name)
    m.d.sync += count.eq(count + up - down)
    return count


def cycles(m: Module, name: str, waiting, limit: int):
    """For how many cycles ``waiting`` has been high before this one, up to ``limit + 1``."""
    count = Signal(range(limit + 2), name=name)
    with m.If(~waiting):
        m.d.sync += count.eq(0)
    with m.Elif(count <= limit):
        m.d.sync += count.eq(count + 1)
    return count


class Inside:
    """A block with its inner signals, which the invariants of an induction speak of.

    ``inside.module`` goes into the proof as a submodule in the block's place; ``inside["name"]`` is
    the local variable of that name in the block's elaboration, ``inside.block("name")`` a submodule
    seen the same way.
    """

    def __init__(self, block):
        self.component, self._locals = block, {}
        sys.setprofile(self._collect)
        try:
            self.module = block.elaborate(None)
        finally:
            sys.setprofile(None)
        block._MustUse__used = True  # or Amaranth warns that nobody elaborated it

    def _collect(self, frame, event, _):
        if event == "return" and frame.f_locals.get("self") is self.component:
            self._locals |= frame.f_locals

    def __getitem__(self, name: str):
        return self._locals[name]

    def block(self, name: str) -> "Inside":
        """A submodule, to be asked for once."""
        component, place = self.module._named_submodules[name]
        inner = Inside(component)
        self.module._named_submodules[name] = inner.module, place
        return inner
