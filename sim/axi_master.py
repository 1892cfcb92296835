"""An AXI4 master for the benches of the memory model, which can break the rules."""

import random
from collections import deque

import cocotb
from cocotb.triggers import Event, RisingEdge

from penstock.hw.axi import BURST_INCREMENTING


class AxiMaster:
    """Sends words on the channels ``ar``, ``aw`` and ``w``, collects those of ``r`` and ``b``.

    ``sent`` and ``received`` hold the fields of each word and the cycle in which it passed.
    ``stalls`` is the probability, each cycle, that a channel is held up.
    """

    def __init__(self, dut, prefix: str, *, stalls: float = 0.0, seed: int = 0):
        self.bytes = len(getattr(dut, f"{prefix}_wstrb"))
        self.stalls = stalls
        self.cycle = 0
        self.sent = {"ar": [], "aw": [], "w": []}
        self.received = {"r": [], "b": []}
        self._dut, self._prefix = dut, prefix
        self._edge = RisingEdge(dut.aclk)
        self._random = random.Random(seed)
        self._words = {channel: deque() for channel in self.sent}
        self._arrived = Event()
        for channel in self.sent:
            self._signal(f"{channel}valid").value = 0
            cocotb.start_soon(self._drive(channel))
        fields = {"r": ("data", "resp", "last", "id"), "b": ("resp", "id")}
        for channel in self.received:
            cocotb.start_soon(self._take(channel, fields[channel]))
        cocotb.start_soon(self._count())

    def send(self, channel: str, fields: dict[str, int], then: dict[str, int] | None = None):
        """Queue a word; what is not told is as the rules want it.

        ``then`` breaks one: what the channel changes to after the first cycle.
        """
        if channel == "w":
            whole = {"data": 0, "strb": (1 << self.bytes) - 1, "last": 0}
        else:
            size = self.bytes.bit_length() - 1
            whole = {"id": 0, "addr": 0, "len": 0, "size": size, "burst": BURST_INCREMENTING}
        self._words[channel].append((whole | fields, then or {}))

    def read(self, address: int, beats: int):
        """Queue a burst."""
        self.send("ar", {"addr": address, "len": beats - 1})

    def write(self, address: int, data: list[int], strobes: list[int] | None = None):
        """Queue a burst and its beats."""
        self.send("aw", {"addr": address, "len": len(data) - 1})
        for index, beat in enumerate(data):
            fields = {"data": beat, "last": int(index == len(data) - 1)}
            self.send("w", fields | ({"strb": strobes[index]} if strobes else {}))

    async def wait_for(self, channel: str, count: int):
        """Wait until as many words have come on a channel."""
        while len(self.received[channel]) < count:
            self._arrived.clear()
            await self._arrived.wait()

    def _signal(self, name: str):
        return getattr(self._dut, f"{self._prefix}_{name}")

    async def _count(self):
        while True:
            await self._edge
            self.cycle += 1

    async def _drive(self, channel: str):
        valid, ready = self._signal(f"{channel}valid"), self._signal(f"{channel}ready")
        while True:
            while not self._words[channel] or self._random.random() < self.stalls:
                await self._edge
            fields, then = self._words[channel].popleft()
            self._show(channel, fields | {"valid": 1})
            await self._edge
            while not ready.value:
                self._show(channel, then)
                await self._edge
            self.sent[channel].append(fields | {"cycle": self.cycle})
            valid.value = 0

    def _show(self, channel: str, fields: dict[str, int]):
        for name, value in fields.items():
            self._signal(channel + name).value = value

    async def _take(self, channel: str, names: tuple[str, ...]):
        valid, ready = self._signal(f"{channel}valid"), self._signal(f"{channel}ready")
        signals = {name: self._signal(channel + name) for name in names}
        while True:
            taking = self._random.random() >= self.stalls
            ready.value = taking
            await self._edge
            if taking and valid.value:
                word = {name: int(signal.value) for name, signal in signals.items()}
                self.received[channel].append(word | {"cycle": self.cycle})
                self._arrived.set()
