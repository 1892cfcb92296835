"""The way to memory: burst requests, and one read channel shared by several clients."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from penstock.config import BURST_BEATS, MEMORY_BITS
from penstock.hw.layouts import read_data_layout, request_layout

BEAT_BYTES = MEMORY_BITS // 8


def times(value, constant: int):
    """``value * constant``, constant at least 1, as shifts and additions: infers no multiplier."""
    terms = [value << bit for bit in range(constant.bit_length()) if constant >> bit & 1]
    return sum(terms[1:], start=terms[0])


class BurstGenerator(wiring.Component):
    """Requests ``beats`` 64-bit words from byte ``address`` on, at most BURST_BEATS at a time.

    No request crosses a boundary of ``8 * BURST_BEATS`` bytes, so none crosses a 4 kB page.

    One request every two cycles, latency 2 cycles; respects backpressure. ``start`` must not come
    while ``busy``. ``halt`` withdraws what was not yet taken.
    """

    def __init__(self, beats_bits: int):
        super().__init__(
            {
                "start": In(1),
                "address": In(32),
                "beats": In(beats_bits),
                "halt": In(1),
                "busy": Out(1),
                "request": Out(stream.Signature(request_layout())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # In beats; both behind the offered request, but for its first cycle.
        position = Signal(32 - (BEAT_BYTES - 1).bit_length())
        remaining = Signal.like(self.beats)
        fresh = Signal()  # that cycle
        offered = Signal.like(position)
        beats = Signal(range(BURST_BEATS + 1))  # of the offered request
        request = self.request

        to_boundary = Signal.like(beats)
        m.d.comb += to_boundary.eq(BURST_BEATS - position % BURST_BEATS)
        m.d.comb += request.p.address.eq(offered << (BEAT_BYTES - 1).bit_length())
        m.d.comb += request.p.beats.eq(beats)
        m.d.comb += self.busy.eq(request.valid | remaining.any())

        m.d.sync += fresh.eq(0)
        with m.If(fresh):
            m.d.sync += [remaining.eq(remaining - beats), position.eq(position + beats)]
        with m.If(request.valid):
            m.d.sync += request.valid.eq(~request.ready)
        with m.Elif(remaining.any()):
            m.d.sync += [request.valid.eq(1), fresh.eq(1), offered.eq(position)]
            m.d.sync += beats.eq(Mux(remaining < to_boundary, remaining, to_boundary))
        with m.If(self.start):
            m.d.sync += remaining.eq(self.beats)
            m.d.sync += position.eq(self.address // BEAT_BYTES)
        with m.If(self.halt):
            m.d.sync += [remaining.eq(0), fresh.eq(0)]
            m.d.sync += request.valid.eq(0)
        return m


class ReadArbiter(wiring.Component):
    """Shares a memory read channel: grants whole requests round robin, routes their beats in order.

    One beat per cycle, latency 1 cycle for requests, 0 for data; applies backpressure: a client
    that refuses its data holds up all. ``depth`` requests may wait behind the one being answered.
    A request has at least one beat.

    ``outstanding`` is high while beats are still to come. While ``drain`` is high no request is
    granted, and beats that still come are dropped.
    """

    def __init__(self, clients: int, depth: int = 4):
        self.clients = clients
        self.depth = depth
        requests, beats = stream.Signature(request_layout()), stream.Signature(read_data_layout())
        super().__init__(
            {
                "request": In(requests).array(clients),
                "data": Out(beats).array(clients),
                "read_request": Out(requests),
                "read_data": In(beats),
                "drain": In(1),
                "outstanding": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        route = data.StructLayout(
            {"client": range(max(self.clients, 2)), "beats": range(BURST_BEATS + 1)}
        )
        m.submodules.fifo = fifo = SyncFIFO(width=route.size, depth=self.depth)
        granted = Signal(route)
        waiting = data.View(route, fifo.r_data)
        # Whose beats come, one bit at most, and how many more; all else hangs on these few bits.
        receivers = Signal(self.clients)
        beats, last_beat = Signal(waiting.beats.shape()), Signal()

        self._grant(m, fifo, granted)
        self._answer(m, fifo, waiting, receivers, beats, last_beat)
        m.d.comb += self.outstanding.eq(self.read_request.valid | fifo.r_rdy | receivers.any())
        return m

    def _grant(self, m, fifo, granted):
        """Take a request into ``read_request`` and note where its beats go."""
        last = Signal.like(granted.client)
        any_valid = Cat(request.valid for request in self.request).any()
        with m.If(self.read_request.ready):
            m.d.sync += self.read_request.valid.eq(0)
        with m.Switch(last):
            for previous in range(self.clients):
                with m.Case(previous):
                    self._choose(m, previous, granted)
        m.d.comb += fifo.w_data.eq(granted)
        with m.If((~self.read_request.valid | self.read_request.ready) & fifo.w_rdy & ~self.drain):
            m.d.comb += fifo.w_en.eq(any_valid)
            for client, request in enumerate(self.request):
                m.d.comb += request.ready.eq(request.valid & (granted.client == client))
            with m.If(any_valid):
                m.d.sync += self.read_request.valid.eq(1)
                m.d.sync += last.eq(granted.client)
        for request in self.request:
            with m.If(request.ready):
                m.d.sync += self.read_request.payload.eq(request.payload)

    def _choose(self, m, previous: int, granted):
        """The first valid request behind the client that was granted last."""
        order = [(previous + distance) % self.clients for distance in range(1, self.clients + 1)]
        for client in reversed(order):  # the last assignment wins
            with m.If(self.request[client].valid):
                m.d.comb += granted.client.eq(client)
                m.d.comb += granted.beats.eq(self.request[client].p.beats)

    def _answer(self, m, fifo, waiting, receivers, beats, last_beat):
        answered = Signal()
        ready = Cat(client.ready for client in self.data) | self.drain.replicate(self.clients)
        m.d.comb += [
            self.read_data.ready.eq((receivers & ready).any()),
            answered.eq(self.read_data.valid & self.read_data.ready),
        ]
        for receives, client in zip(receivers, self.data, strict=True):
            m.d.comb += [
                client.valid.eq(receives & self.read_data.valid & ~self.drain),
                client.payload.eq(self.read_data.payload),
            ]
        with m.If(answered):
            m.d.sync += [beats.eq(beats - 1), last_beat.eq(beats == 2)]
        with m.If(~receivers.any() | (answered & last_beat)):
            m.d.comb += fifo.r_en.eq(1)
            m.d.sync += [
                receivers.eq(Mux(fifo.r_rdy, 1 << waiting.client, 0)),
                beats.eq(waiting.beats),
                last_beat.eq(waiting.beats == 1),
            ]
