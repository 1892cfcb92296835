"""AXI clients on cocotbext-axi, which nobody here wrote: a memory, a host, and a protocol checker.

They know the specification and not the hardware: whoever drops the accelerator into a system on
chip meets it as they do. Clock and reset are ``aclk`` and ``aresetn``, or ``clk`` and ``rst``.
"""

import logging
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import cocotb
from cocotb.queue import Queue
from cocotb.triggers import ClockCycles, First, RisingEdge, Timer, with_timeout
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiResp, AxiSlave

from penstock.registers import ADDRESS, STATUS_FIELDS, Code, State
from penstock.sim.driver import RegisterDriver
from penstock.sim.streams import CLOCK_PERIOD

CHANNELS = ("aw", "w", "b", "ar", "r")

WORD_BYTES = 8
"""Errors are chosen by the core's 64-bit words, whatever the width of the bus."""

OUTSTANDING = 16
"""Bursts of each direction that the memory takes ahead."""

LONGEST_BURST = 256
"""Beats of write data that the memory takes ahead."""

ADDRESS_FIELDS = ("addr", "len", "size", "burst", "id", "cache", "prot")

_INCREMENTING, _BUFFERABLE = 1, 0b0011
_PAGE = 4096  # bytes that no burst leaves
_QUIET = 8  # cycles without activity behind which stalls end


def clocking(dut) -> dict:
    """``clock``, ``reset`` and ``reset_active_level`` as cocotbext-axi takes them."""
    if hasattr(dut, "aclk"):
        return {"clock": dut.aclk, "reset": dut.aresetn, "reset_active_level": False}
    return {"clock": dut.clk, "reset": dut.rst, "reset_active_level": True}


async def reset(dut, cycles: int = 2):
    """Hold ``aresetn`` low for some cycles; returns right after a rising edge."""
    dut.aresetn.value = 0
    await ClockCycles(dut.aclk, cycles)
    dut.aresetn.value = 1
    await RisingEdge(dut.aclk)


def cycle() -> int:
    """The number of this cycle."""
    return round(get_sim_time("ns")) // CLOCK_PERIOD


async def check_registered(clock, inputs: Sequence, outputs: Sequence, *, cycles: int, seed: int):
    """Change inputs in the middle of cycles: the outputs must not follow before the next edge."""
    rng = random.Random(seed)

    def randomize():
        for signal in inputs:
            signal.value = rng.getrandbits(len(signal))

    for _ in range(cycles):
        randomize()
        await Timer(CLOCK_PERIOD // 5, "ns")
        before = {signal._name: int(signal.value) for signal in outputs}
        randomize()
        await Timer(CLOCK_PERIOD // 5, "ns")
        after = {signal._name: int(signal.value) for signal in outputs}
        assert after == before, f"outputs must change at edges only, {before} became {after}"
        await RisingEdge(clock)


class Stalls:
    """Holds up channels of cocotbext-axi at random, each on its own, or for good.

    ``channels``: cocotbext-axi's, by name. Each cycle one stalls with its own probability, which is
    chosen anew every few dozen cycles, around ``stalls``, from never to mostly. 0 is full speed;
    then, and while no channel is active, no Python runs.
    """

    def __init__(self, channels: dict, *, stalls: float = 0.0, seed: int = 0):
        self._channels = channels
        self._random = {name: random.Random(f"{seed} {name}") for name in channels}
        self._silent: frozenset[str] = frozenset()
        self._stalls = 0.0
        self._task = None
        self.stalls = stalls

    @property
    def stalls(self) -> float:
        """Probability of a stall; may be set at any time."""
        return self._stalls

    @stalls.setter
    def stalls(self, stalls: float):
        self._stalls = stalls
        if self._task is not None:
            self._task.cancel()
        self._task = cocotb.start_soon(self._run()) if stalls else None
        self._go_on()

    def silence(self, *names: str):
        """Stop these channels, and let the others go on; without names all channels go on."""
        self._silent = frozenset(names)
        self._go_on()

    def _go_on(self):
        for name, channel in self._channels.items():
            channel.pause = name in self._silent

    async def _run(self):
        channels = list(self._channels.values())
        edge = RisingEdge(channels[0].clock)
        pauses = [(name, channel, self._pauses(name)) for name, channel in self._channels.items()]
        quiet = 0  # cycles
        while True:
            for name, channel, generator in pauses:
                channel.pause = next(generator) or name in self._silent
            await edge
            active = any(channel.valid.value or not channel.empty() for channel in channels)
            quiet = 0 if active else quiet + 1
            if quiet == _QUIET:
                self._go_on()
                await First(*(RisingEdge(channel.valid) for channel in channels))

    def _pauses(self, name: str) -> Iterator[bool]:
        rng = self._random[name]
        while True:
            probability = rng.choice((0, self._stalls, self._stalls, (1 + self._stalls) / 2))
            for _ in range(rng.randrange(1, 80)):
                yield rng.random() < probability


class AxiMemorySlave:
    """A memory behind an AXI4 master: cocotbext-axi's AxiSlave over ``content``.

    ``content`` (bytearray) may be replaced between transfers; what lies outside of it answers
    DECERR. ``errors``: by byte address of a 64-bit word, how a beat that reads it, or a burst that
    writes it, answers instead; such a beat's data are random. ``latency``: cycles from an accepted
    address to the burst's first beat, from the last beat of a write to its answer; a pair draws it
    at random from that range, both ends included. Bursts wait in a queue meanwhile. ``stalls``: see
    Stalls.

    `die` stops channels, at first all of them; `revive` lets all go on. With ``data_first`` the
    address of a write is taken only behind the last beat of its data.
    """

    def __init__(
        self,
        dut,
        prefix: str = "m_axi",
        *,
        size: int = 0,
        latency: int | tuple[int, int] = 0,
        stalls: float = 0.0,
        seed: int = 0,
    ):
        self.content = bytearray(size)
        self.errors: dict[int, AxiResp] = {}
        self.latency = latency
        self.data_first = False
        self.bytes_read = self.bytes_written = 0
        self.reads: deque[tuple[int, int]] = deque(maxlen=64)  # (address, beats) taken last
        self.writes: deque[tuple[int, int]] = deque(maxlen=64)
        self._clock = clocking(dut)["clock"]
        self._random = random.Random(f"{seed} latency")
        self._slave = AxiSlave(AxiBus.from_prefix(dut, prefix), target=self, **clocking(dut))
        write, read = self._slave.write_if, self._slave.read_if
        for model in (write, read):
            model.log.setLevel(logging.ERROR)
        self._response = AxiResp.OKAY  # of the beat read
        self._written = AxiResp.OKAY  # of the write so far
        self._last_data = 0  # when its last beat so far came
        self._addresses, self._data = _ArrivalQueue(), _ArrivalQueue()  # of writes
        read.ar_channel.queue = _ArrivalQueue()
        write.aw_channel.queue, write.w_channel.queue = self._addresses, self._data
        self._data.on_last = write.aw_channel.wake_event.set
        read.ar_channel.queue_occupancy_limit = OUTSTANDING
        write.aw_channel.queue_occupancy_limit = OUTSTANDING
        write.w_channel.queue_occupancy_limit = LONGEST_BURST
        # The seams of cocotbext-axi: it gives a failing beat SLVERR only, and has no latency.
        self._intercept(read.ar_channel, "recv", self._receive_read)
        self._intercept(read.r_channel, "send", self._send_beat)
        self._intercept(write.aw_channel, "recv", self._receive_write)
        self._intercept(write.b_channel, "send", self._send_done)
        self._intercept(write.aw_channel, "full", self._hold_address)
        self._intercept(write.w_channel, "recv", self._receive_data)
        channels = {name: getattr(write, f"{name}_channel") for name in ("aw", "w", "b")}
        channels |= {name: getattr(read, f"{name}_channel") for name in ("ar", "r")}
        self._channels = Stalls(channels, stalls=stalls, seed=seed)

    @staticmethod
    def _intercept(channel, name: str, function):
        inner = getattr(channel, name)
        setattr(channel, name, lambda *arguments: function(inner, *arguments))

    @property
    def stalls(self) -> float:
        """Probability of a stall; may be set at any time."""
        return self._channels.stalls

    @stalls.setter
    def stalls(self, stalls: float):
        self._channels.stalls = stalls

    def die(self, *channels: str):
        """Stop these channels, or all: nothing more is taken or offered there."""
        self._channels.silence(*(channels or CHANNELS))

    def revive(self):
        """Go on where `die` stopped; nothing was lost."""
        self._channels.silence()

    async def read(self, address: int, length: int) -> bytes:
        """One beat, for cocotbext-axi."""
        self.bytes_read += length
        self._response = self._judge(address, length)
        if self._response != AxiResp.OKAY:
            return self._random.randbytes(length)
        return bytes(self.content[address : address + length])

    async def write(self, address: int, data: bytes):
        """The bytes of one beat that have strobes, for cocotbext-axi."""
        self.bytes_written += len(data)
        self._written = max(self._written, self._judge(address, len(data)))
        if address + len(data) <= len(self.content):
            self.content[address : address + len(data)] = data

    def _judge(self, address: int, length: int) -> AxiResp:
        if address + length > len(self.content):
            return AxiResp.DECERR
        words = range(address - address % WORD_BYTES, address + length, WORD_BYTES)
        return max(self.errors.get(word, AxiResp.OKAY) for word in words)

    def _draw_latency(self) -> int:
        return (
            self.latency if isinstance(self.latency, int) else self._random.randint(*self.latency)
        )

    async def _until(self, then: int):
        if then > cycle():
            await ClockCycles(self._clock, then - cycle())

    async def _receive_read(self, receive):
        burst = await receive()
        await self._until(burst.arrived + self._draw_latency())
        self.reads.append((int(burst.araddr), int(burst.arlen) + 1))
        return burst

    async def _send_beat(self, send, beat):
        beat.rresp = self._response
        await send(beat)

    async def _receive_write(self, receive):
        burst = await receive()
        self.writes.append((int(burst.awaddr), int(burst.awlen) + 1))
        self._written = AxiResp.OKAY
        return burst

    async def _receive_data(self, receive):
        beat = await receive()
        self._last_data = beat.arrived
        return beat

    async def _send_done(self, send, done):
        await self._until(self._last_data + self._draw_latency())
        done.bresp = self._written
        await send(done)

    def _hold_address(self, full) -> bool:
        # Asked in the cycle in which an address was taken, for the next one.
        return full() or (self.data_first and self._addresses.count >= self._data.lasts)


class _ArrivalQueue(Queue):
    """Notes when each item came, and how many did."""

    def __init__(self):
        super().__init__()
        self.count = 0
        self.lasts = 0  # last beats of write data
        self.on_last = lambda: None

    def _put(self, item):
        item.arrived = cycle()
        self.count += 1
        if int(getattr(item, "wlast", 0)):
            self.lasts += 1
            self.on_last()
        super()._put(item)


class AxiHost(RegisterDriver):
    """Register accesses and commands by cocotbext-axi's AxiLiteMaster; all must answer OKAY."""

    def __init__(self, dut, prefix: str = "s_axil", *, stalls: float = 0.0, seed: int = 0):
        super().__init__(dut, dut.aclk)
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, prefix), **clocking(dut))
        write, read = self.master.write_if, self.master.read_if
        for model in (write, read):
            model.log.setLevel(logging.ERROR)
        channels = {name: getattr(write, f"{name}_channel") for name in ("aw", "w", "b")}
        channels |= {name: getattr(read, f"{name}_channel") for name in ("ar", "r")}
        self.channels = Stalls(channels, stalls=stalls, seed=seed)

    async def write(self, register: str, value: int):
        answer = await self.master.write(ADDRESS[register], int(value).to_bytes(4, "little"))
        assert answer.resp == AxiResp.OKAY, f"a write of {register} must be OKAY, {answer.resp!r}"

    async def read(self, register: str) -> int:
        answer = await self.master.read(ADDRESS[register], 4)
        assert answer.resp == AxiResp.OKAY, f"a read of {register} must be OKAY, {answer.resp!r}"
        return int.from_bytes(answer.data, "little")

    async def ended(self, timeout: int):
        """Wait for the interrupt. Raises TimeoutError where it does not come in as many cycles."""
        if not self._interrupt.value:
            await with_timeout(RisingEdge(self._interrupt), timeout * CLOCK_PERIOD, "ns")
            await self._edge

    async def state(self) -> State:
        """State of the core."""
        return (await self.status())["state"]

    async def status(self) -> dict[str, int]:
        """The fields of STATUS by name."""
        value, fields = await self.read("STATUS"), {}
        for name, bits in STATUS_FIELDS:
            fields[name] = value & (1 << bits) - 1
            value >>= bits
        assert value == 0, f"STATUS must have 0 above its fields, not {value:#x}"
        fields |= {"code": Code(fields["code"]), "state": State(fields["state"])}
        ended = fields["state"] == State.IDLE or fields["code"] == Code.TIMEOUT
        assert ended or not fields["done"], f"done must wait for the end, {fields}"
        return fields


async def watch_channel(
    dut, prefix: str, channel: str, names: Sequence[str], taken: Callable[[dict[str, int]], None]
):
    """Call ``taken`` with the fields of each transfer of a channel; asleep while valid is low.

    Raises AssertionError, which fails the test, where valid falls or a field changes after a cycle
    with ready low.
    """
    bus = clocking(dut)
    edge, reset = RisingEdge(bus["clock"]), bus["reset"]
    valid, ready = (getattr(dut, f"{prefix}_{channel}{name}") for name in ("valid", "ready"))
    signals = {name: getattr(dut, f"{prefix}_{channel}{name}") for name in names}
    refused = None
    while True:
        if refused is None and not valid.value:
            await RisingEdge(valid)
        await edge
        if bool(reset.value) == bus["reset_active_level"]:
            refused = None
            continue
        if not valid.value:
            assert refused is None, f"{channel}valid must stay high while refused, fell"
            continue
        fields = {name: int(signal.value) for name, signal in signals.items()}
        assert refused in (None, fields), (
            f"{channel}: what is refused must be held, {refused} became {fields}"
        )
        refused = fields
        if ready.value:
            refused = None
            taken(fields)


class AxiChecker:
    """Holds an AXI4 master to the protocol, and counts what passes.

    Every address, data and answer that is refused must be held. Bursts are incrementing, of whole
    beats, aligned, with ID 0, and stay within a 4 kB page; the last beat of write data, and no
    other, is marked. Raises AssertionError, which fails the test.

    ``bursts``: addresses taken (``ar``, ``aw``), last beats (``r``, ``w``) and answers (``b``).
    ``most_reads``: read bursts under way at once.
    """

    def __init__(self, dut, prefix: str = "m_axi", *, bits: int):
        self._bytes = bits // 8
        self.restart()
        for channel, names, taken in (
            ("aw", ADDRESS_FIELDS, self._on_write),
            ("w", ("data", "strb", "last"), self._on_data),
            ("b", ("resp", "id"), self._on_done),
            ("ar", ADDRESS_FIELDS, self._on_read),
            ("r", ("data", "resp", "last", "id"), self._on_beat),
        ):
            cocotb.start_soon(watch_channel(dut, prefix, channel, names, taken))

    def restart(self):
        """Forget what is under way, as a reset does."""
        self.bursts = dict.fromkeys(CHANNELS, 0)
        self.most_reads = 0
        self._lengths: deque[int] = deque()  # of addressed writes whose data are not yet complete
        self._early: deque[int] = deque()  # of complete data whose address has not yet come
        self._data = 0  # beats of write data since the last one marked

    @property
    def idle(self) -> bool:
        """Every burst that was begun has ended, on all channels."""
        bursts = self.bursts
        return bursts["ar"] == bursts["r"] and bursts["aw"] == bursts["w"] == bursts["b"]

    def _on_write(self, fields: dict[str, int]):
        self._check_address("aw", fields)
        self._lengths.append(fields["len"] + 1)
        self._match()

    def _on_read(self, fields: dict[str, int]):
        self._check_address("ar", fields)
        self.most_reads = max(self.most_reads, self.bursts["ar"] - self.bursts["r"])

    def _check_address(self, channel: str, fields: dict[str, int]):
        self.bursts[channel] += 1
        start, length = fields["addr"], (fields["len"] + 1) * self._bytes
        assert 1 << fields["size"] == self._bytes, f"{channel}size must be the bus's, {fields}"
        assert fields["burst"] == _INCREMENTING, f"{channel}burst must be INCR, {fields}"
        assert start % self._bytes == 0, f"{channel}addr must be aligned, not {start:#x}"
        assert start // _PAGE == (start + length - 1) // _PAGE, (
            f"{channel}: a burst must stay within 4 kB, not {length} bytes from {start:#x}"
        )
        assert not fields["id"], f"{channel}id must be 0, not {fields['id']}"
        assert (fields["cache"], fields["prot"]) == (_BUFFERABLE, 0), f"{channel}: {fields}"

    def _on_data(self, fields: dict[str, int]):
        self._data += 1
        if fields["last"]:
            self.bursts["w"] += 1
            self._early.append(self._data)
            self._data = 0
        self._match()

    def _match(self):
        while self._lengths and self._early:
            wanted, given = self._lengths.popleft(), self._early.popleft()
            assert wanted == given, f"wlast must mark beat {wanted}, marked {given}"
        if self._lengths:
            wanted = self._lengths[0]
            assert self._data < wanted, f"wlast must mark beat {wanted}, beat {self._data} came"

    def _on_done(self, fields: dict[str, int]):
        self.bursts["b"] += 1

    def _on_beat(self, fields: dict[str, int]):
        self.bursts["r"] += fields["last"]
