"""Bench of the read arbiter: clients with requests of their own, a memory of addresses."""

import random

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from penstock.hw.layouts import read_data_layout, request_layout
from penstock.sim.runner import bench_parameters
from penstock.sim.streams import StreamSink, StreamSource, start_clock, unpack

CLIENTS = 3


class Bench:
    """The arbiter's clients, and a memory whose words are their own byte addresses."""

    def __init__(self, dut):
        self.dut, self.stalls = dut, bench_parameters()["stalls"]
        dut.drain.value = 0
        self.requests = [
            self._stream(StreamSource, f"request__{client}", request_layout())
            for client in range(CLIENTS)
        ]
        self.granted = self._stream(StreamSink, "read_request", request_layout())
        self.answers = self._stream(StreamSource, "read_data", read_data_layout())
        cocotb.start_soon(self._answer())
        cocotb.start_soon(self._check_outstanding())

    def data_sinks(self) -> list[StreamSink]:
        """Clients that take what they asked for."""
        return [
            self._stream(StreamSink, f"data__{client}", read_data_layout())
            for client in range(CLIENTS)
        ]

    def _stream(self, kind, name: str, layout):
        return kind(self.dut, name, layout, stalls=self.stalls, seed=random.getrandbits(32))

    async def _answer(self):
        answered = 0
        while True:
            await self.granted.wait_for(answered + 1)
            self.answers.send(*beats_of(self.granted.words[answered]))
            answered += 1

    async def _check_outstanding(self):
        dut, due = self.dut, 0
        await FallingEdge(dut.rst)
        while True:
            await RisingEdge(dut.clk)
            expected = due > 0 or bool(dut.read_request__valid.value)
            assert bool(dut.outstanding.value) == expected, f"{due} beats are to come"
            if dut.read_request__valid.value and dut.read_request__ready.value:
                due += unpack(request_layout(), int(dut.read_request__payload.value))["beats"]
            due -= bool(dut.read_data__valid.value and dut.read_data__ready.value)


def beats_of(request: dict[str, int]) -> list[dict[str, int]]:
    """What the memory answers to a request; every fifth word fails."""
    addresses = (request["address"] + 8 * beat for beat in range(request["beats"]))
    return [{"data": address, "error": address % 40 == 0} for address in addresses]


def random_requests(client: int, count: int) -> list[dict[str, int]]:
    """Requests for addresses that are this client's alone."""
    return [
        {"address": client << 24 | random.randrange(1 << 16) << 3, "beats": random.randint(1, 20)}
        for _ in range(count)
    ]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def every_client_gets_its_own(dut):
    """All beats, in order, to who asked, with their errors."""
    bench = Bench(dut)
    sinks = bench.data_sinks()
    await start_clock(dut)
    for counts in ((20, 20, 20), (0, 30, 0), (5, 0, 40)):
        expected = []
        for client, count in enumerate(counts):
            sinks[client].words.clear()
            asked = random_requests(client, count)
            bench.requests[client].send(*asked)
            expected.append([beat for request in asked for beat in beats_of(request)])
        for sink, beats in zip(sinks, expected, strict=True):
            await sink.wait_for(len(beats))
        await ClockCycles(dut.clk, 3)
        assert [sink.words for sink in sinks] == expected
        assert not dut.outstanding.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def draining_drops_what_comes(dut):
    """While draining nothing is granted and nothing reaches the clients, who refuse all data."""
    bench = Bench(dut)
    for client in range(CLIENTS):
        getattr(dut, f"data__{client}__ready").value = 0
    await start_clock(dut)
    for client, source in enumerate(bench.requests):
        source.send(*random_requests(client, 4))
    await ClockCycles(dut.clk, 60)
    assert dut.outstanding.value
    dut.drain.value = 1
    await RisingEdge(dut.clk)
    while dut.outstanding.value:
        await RisingEdge(dut.clk)
        assert not any(getattr(dut, f"data__{client}__valid").value for client in range(CLIENTS))
    granted = len(bench.granted.words)
    assert granted < CLIENTS * 4
    await ClockCycles(dut.clk, 60)
    assert len(bench.granted.words) == granted

    dut.drain.value = 0
    sinks = bench.data_sinks()
    await bench.granted.wait_for(CLIENTS * 4)
    while dut.outstanding.value:
        await RisingEdge(dut.clk)
    late = bench.granted.words[granted:]
    for client, sink in enumerate(sinks):
        mine = [request for request in late if request["address"] >> 24 == client]
        assert sink.words == [beat for request in mine for beat in beats_of(request)]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def clients_take_turns(dut):
    """Who asks all the time waits for each of the others once, not longer."""
    bench = Bench(dut)
    bench.data_sinks()
    for source in bench.requests:
        source.stalls = 0.0
    await start_clock(dut)
    for client, source in enumerate(bench.requests):
        source.send(*random_requests(client, 20))
    await bench.granted.wait_for(CLIENTS * 20)
    order = [request["address"] >> 24 for request in bench.granted.words]
    turns = [order[place : place + CLIENTS] for place in range(0, len(order), CLIENTS)]
    assert all(sorted(turn) == [0, 1, 2] for turn in turns), order
