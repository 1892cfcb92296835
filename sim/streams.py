"""Small cocotb parts for valid/ready streams, and payloads as Python values.

``name`` is the stream's port name in Verilog: its signals are ``<name>__valid``, ``<name>__ready``
and ``<name>__payload``. Random stalls are independent on either side; probability 0 is full speed.
"""

import random
from collections import deque

import cocotb
from amaranth.hdl import Shape
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import Event, RisingEdge

CLOCK_PERIOD = 10  # ns


def payload_layout(signature):
    """The payload's shape or layout of a stream signature."""
    return signature.members["payload"].shape


def pack(layout, value) -> int:
    """The bits of a payload as an unsigned integer.

    layout: a shape or a data layout; value: an int, or a dict (struct) or sequence (array) of
    members, nested as the layout is; what is left out is 0. Raises ValueError for a value that its
    shape cannot hold.
    """
    if isinstance(layout, data.Layout):
        members = value.items() if isinstance(value, dict) else enumerate(value)
        bits = 0
        for key, member in members:
            field = layout[key]
            bits |= pack(field.shape, member) << field.offset
        return bits
    shape = Shape.cast(layout)
    value = int(value)
    low = -(1 << shape.width - 1) if shape.signed else 0
    if not low <= value < low + (1 << shape.width):
        raise ValueError(f"value must fit {shape!r}, not {value}")
    return value & ((1 << shape.width) - 1)


def unpack(layout, bits: int):
    """The payload in ``bits``: an int, a dict or a list, nested as the layout is."""
    if isinstance(layout, data.Layout):
        members = {
            key: unpack(field.shape, bits >> field.offset & (1 << field.width) - 1)
            for key, field in layout
        }
        return list(members.values()) if isinstance(layout, data.ArrayLayout) else members
    shape = Shape.cast(layout)
    bits &= (1 << shape.width) - 1
    if shape.signed and bits >> shape.width - 1:
        bits -= 1 << shape.width
    return bits


async def start_clock(dut, cycles: int = 2):
    """Start the clock and hold the reset for some cycles; returns right after a rising edge."""
    await _start(dut.clk, dut.rst, 1, cycles)


async def start_axi_clock(dut, cycles: int = 2):
    """As `start_clock`, for ``aclk`` and ``aresetn``."""
    await _start(dut.aclk, dut.aresetn, 0, cycles)


async def _start(clock, reset, active: int, cycles: int):
    Clock(clock, CLOCK_PERIOD, unit="ns").start()
    reset.value = active
    for _ in range(cycles):
        await RisingEdge(clock)
    reset.value = 1 - active
    await RisingEdge(clock)


class StreamSource:
    """Drives an input stream with the words given to `send`, in order.

    Before each word it stalls with probability ``stalls`` a cycle. While it stalls the payload is
    random, so that nobody gets away with reading it.
    """

    def __init__(self, dut, name: str, layout, *, stalls: float = 0.0, seed: int = 0):
        self._clock = dut.clk
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready", None)
        self._payload = getattr(dut, f"{name}__payload")
        self._layout = layout
        self._random = random.Random(seed)
        self._words = deque()
        self._wake = Event()
        self._idle = Event()
        self._idle.set()
        self.stalls = stalls
        self._valid.value = 0
        cocotb.start_soon(self._run())

    def send(self, *words):
        """Queue words; returns at once."""
        self._words.extend(pack(self._layout, word) for word in words)
        if self._words:
            self._idle.clear()
            self._wake.set()

    async def drained(self):
        """Wait until the last word was taken."""
        await self._idle.wait()

    async def _run(self):
        edge = RisingEdge(self._clock)
        width = len(self._payload)
        while True:
            if not self._words:
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
                await edge
            while self._random.random() < self.stalls:
                self._payload.value = self._random.getrandbits(width)
                await edge
            self._payload.value = self._words.popleft()
            self._valid.value = 1
            await edge
            while self._ready is not None and not self._ready.value:
                await edge
            self._valid.value = 0


class StreamMonitor:
    """Collects the words that a stream transfers, and checks that a refused word is held.

    ``words`` are the payloads so far, none of them from a cycle of reset. Raises AssertionError,
    which fails the test, where valid falls or the payload changes after a cycle with ready low.
    """

    def __init__(self, dut, name: str, layout, *, check_hold: bool = True):
        self._clock, self._reset = dut.clk, dut.rst
        self._name = name
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready", None)
        self._payload = getattr(dut, f"{name}__payload")
        self._layout = layout
        self._check_hold = check_hold and self._ready is not None
        self._arrived = Event()
        self.words = []
        self.stop = cocotb.start_soon(self._run()).cancel

    async def wait_for(self, count: int):
        """Wait until at least ``count`` words have come."""
        while len(self.words) < count:
            self._arrived.clear()
            await self._arrived.wait()

    async def _run(self):
        edge = RisingEdge(self._clock)
        refused = None
        while True:
            await edge
            if self._reset.value:
                refused = None
                continue
            if not self._valid.value:
                assert refused is None, f"{self._name}: a refused word must stay valid, fell"
                continue
            bits = int(self._payload.value)
            assert refused is None or bits == refused, (
                f"{self._name}: a refused word must be held, {refused:#x} became {bits:#x}"
            )
            if self._ready is None or self._ready.value:
                refused = None
                self.words.append(unpack(self._layout, bits))
                self._arrived.set()
            elif self._check_hold:
                refused = bits


class StreamSink(StreamMonitor):
    """Takes words from an output stream; ready is low with probability ``stalls`` a cycle."""

    def __init__(self, dut, name: str, layout, *, stalls: float = 0.0, seed: int = 0):
        super().__init__(dut, name, layout)
        self.stalls = stalls
        self._random = random.Random(seed)
        cocotb.start_soon(self._drive())

    async def _drive(self):
        edge = RisingEdge(self._clock)
        while True:
            self._ready.value = self._random.random() >= self.stalls
            await edge
