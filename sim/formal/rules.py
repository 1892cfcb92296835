"""Rules that streams and AXI channels keep, and counters for what moves on them.

Sections are those of the AMBA AXI protocol specification, ARM IHI 0022, issue H.
"""

from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal, Value

from penstock.sim.formal.inside import Inside


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


def unasked(reader: Inside) -> tuple[Value, Value]:
    """Of a burst generator: words not yet asked for, the offered request's among them, and the
    place of the first one.
    """
    request, position = reader.component.request, reader["position"]
    behind = Mux(request.valid & ~reader["fresh"], request.p.beats, 0)
    return reader["remaining"] + behind, (position - behind)[: len(position)]


def tally(m: Module, name: str, bits: int, up, down=None, *, cleared=None):
    """How many more times ``up`` than ``down`` came so far, or the sum of what they are.

    It begins anew behind each cycle with ``cleared``.
    """
    count = Signal(bits, name=name)
    m.d.sync += count.eq(count + up if down is None else count + up - down)
    if cleared is not None:
        with m.If(cleared):
            m.d.sync += count.eq(0)
    return count


def cycles(m: Module, name: str, waiting, limit: int):
    """For how many cycles ``waiting`` has been high before this one, up to ``limit + 1``."""
    count = Signal(range(limit + 2), name=name)
    with m.If(~waiting):
        m.d.sync += count.eq(0)
    with m.Elif(count <= limit):
        m.d.sync += count.eq(count + 1)
    return count
