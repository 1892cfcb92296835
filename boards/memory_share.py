"""One memory for two: the core and the host link."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.hw.layouts import memory_signature
from penstock.hw.memory import ReadArbiter

UNANSWERED = 7
"""Write requests that may wait for the memory's answer."""


class MemoryShare(wiring.Component):
    """Two clients on one memory, whole requests in turn; each sees a memory of its own.

    Reads as in penstock.hw.memory.ReadArbiter: a beat per cycle, in order; a client that refuses
    its data holds up both.

    Writes: a request's data pass, a beat per cycle, before the next request is granted, three
    cycles later. A client that asks is next behind the other one's request, once the memory has
    answered all of that one's: the answers go to whoever wrote last. No combinational path from
    ``memory`` to requests; latency 1 cycle for requests, 0 for data and answers.
    """

    def __init__(self):
        super().__init__(
            {
                "core": In(memory_signature()),
                "link": In(memory_signature()),
                "memory": Out(memory_signature()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reads = reads = ReadArbiter(2)
        memory = wiring.flipped(self.memory)
        wiring.connect(m, reads.read_request, memory.read_request)
        wiring.connect(m, memory.read_data, reads.read_data)
        for index, client in enumerate((self.core, self.link)):
            wiring.connect(m, wiring.flipped(client).read_request, reads.request[index])
            wiring.connect(m, reads.data[index], wiring.flipped(client).read_data)
        self._writes(m)
        return m

    def _writes(self, m: Module):
        memory, clients = self.memory, (self.core, self.link)
        owner = Signal()  # whose request was granted last
        open_ = Signal()  # its data have not all passed
        granted = Signal()  # the owner's request is taken in this cycle
        unanswered = Signal(range(UNANSWERED + 1))
        asks, others = Signal(), Signal()  # the owner, the other one
        request, word = memory.write_request, memory.write_data
        passes = Signal()
        m.d.comb += passes.eq(open_ & ~request.valid)
        for index, client in enumerate(clients):
            with m.If(owner == index):
                m.d.comb += [
                    asks.eq(client.write_request.valid),
                    others.eq(clients[1 - index].write_request.valid),
                    client.write_request.ready.eq(granted),
                    client.write_data.ready.eq(passes & word.ready),
                    client.write_done.valid.eq(memory.write_done.valid),
                    word.valid.eq(passes & client.write_data.valid),
                    word.payload.eq(client.write_data.payload),
                ]
                with m.If(granted):
                    m.d.sync += request.payload.eq(client.write_request.payload)
            m.d.comb += client.write_done.payload.eq(memory.write_done.payload)

        m.d.sync += granted.eq(0)
        with m.If(request.ready):
            m.d.sync += request.valid.eq(0)
        with m.If(granted):
            m.d.sync += [request.valid.eq(1), open_.eq(1)]
        with m.Elif(word.valid & word.ready & word.p.last):
            m.d.sync += open_.eq(0)
        with m.Elif(~open_):
            with m.If(others & ~unanswered.any()):
                m.d.sync += owner.eq(~owner)
                m.d.sync += granted.eq(1)
            with m.Elif(asks & ~others & (unanswered != UNANSWERED)):
                m.d.sync += granted.eq(1)
        m.d.sync += unanswered.eq(unanswered + granted - memory.write_done.valid)
