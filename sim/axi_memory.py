"""The memory behind an AXI4 master, which it holds to the rules of the bus."""

from penstock.config import BURST_BEATS, MEMORY_BITS
from penstock.hw.axi import BURST_INCREMENTING, Response
from penstock.sim.memory import WORD_BYTES, BusMemory, Channel

LONGEST_BURST = BURST_BEATS * MEMORY_BITS // 8
"""Bytes of one burst that Penstock never exceeds; AXI4 allows 256 beats."""

_OKAY, _SLVERR, _DECERR = (Response[name].value for name in ("OKAY", "SLVERR", "DECERR"))
_PAGE = 4096  # bytes; no burst crosses its boundary
_ADDRESS = ("id", "addr", "len", "size", "burst", "cache", "prot")


class AxiMemoryModel(BusMemory):
    """Serves an AXI4 master of any data width on the clock ``aclk``.

    A word in ``errors`` is answered with SLVERR, a beat outside of the content with DECERR, as an
    interconnect without a slave there would; it reads as 0 and stores nothing. Strobes are
    honoured. Write data may come before their address.

    Raises AssertionError, too, where a burst is not INCR, its beats are not as wide as the bus or
    not aligned, it crosses 4 kB, is longer than LONGEST_BURST, or has another ID than 0.
    """

    def __init__(
        self,
        dut,
        prefix: str = "m_axi",
        *,
        size: int = 0,
        latency: int = 32,
        stalls: float = 0.0,
        seed: int = 0,
    ):
        self._bytes = len(getattr(dut, f"{prefix}_wstrb"))
        self._all = (1 << self._bytes) - 1  # strobes
        super().__init__(
            dut.aclk,
            read_request=_AxiChannel(dut, f"{prefix}_ar", _ADDRESS),
            read_data=_AxiChannel(dut, f"{prefix}_r", ("id", "data", "resp", "last")),
            write_request=_AxiChannel(dut, f"{prefix}_aw", _ADDRESS),
            write_data=_AxiChannel(dut, f"{prefix}_w", ("data", "strb", "last")),
            write_done=_AxiChannel(dut, f"{prefix}_b", ("id", "resp")),
            beat_bytes=self._bytes,
            size=size,
            latency=latency,
            stalls=stalls,
            seed=seed,
        )

    def _addresses(self, request):
        start, beats = request["addr"], request["len"] + 1
        size = beats * self._bytes
        what = f"burst of {beats} beats from {start:#x}"
        assert request["burst"] == BURST_INCREMENTING, (
            f"{what}: must be INCR ({BURST_INCREMENTING}), not {request['burst']}"
        )
        assert 1 << request["size"] == self._bytes, (
            f"{what}: a beat must have {self._bytes} bytes, not {1 << request['size']}"
        )
        assert start % self._bytes == 0, f"{what}: must begin at a multiple of {self._bytes} bytes"
        assert size <= LONGEST_BURST, f"{what}: must be {LONGEST_BURST} bytes or less, not {size}"
        assert start // _PAGE == (start + size - 1) // _PAGE, f"{what}: must not cross 4 kB"
        assert request["id"] == 0, f"{what}: ID must be 0, not {request['id']}"
        return range(start, start + size, self._bytes)

    def _response(self, address):
        if not self._inside(address):
            return _DECERR
        if self.errors and not self.errors.isdisjoint(self._words(address)):
            return _SLVERR
        return _OKAY

    def _inside(self, address: int) -> bool:
        return address + self._bytes <= len(self.content)

    def _words(self, address: int) -> range:
        """The 64-bit words that a beat touches."""
        return range(address - address % WORD_BYTES, address + self._bytes, WORD_BYTES)

    def _show_read(self, channel, address, response, last):
        data = self.content[address : address + self._bytes] if self._inside(address) else b""
        channel.show(data=int.from_bytes(data, "little"), resp=response, last=int(last))

    def _store(self, address, beat):
        if not self._inside(address):
            return
        data, strobes = beat["data"].to_bytes(self._bytes, "little"), beat["strb"]
        if strobes == self._all:
            self.content[address : address + self._bytes] = data
            return
        for lane in range(self._bytes):
            if strobes >> lane & 1:
                self.content[address + lane] = data[lane]

    def _show_done(self, channel, response):
        channel.show(resp=response)


class _AxiChannel(Channel):
    """One of the five channels: a signal for each field."""

    def __init__(self, dut, name: str, fields: tuple[str, ...]):
        super().__init__(dut, name, "")
        self._signals = {field: getattr(dut, f"{name}{field}") for field in fields}
        self._shown = {}

    def bits(self):
        return tuple(int(signal.value) for signal in self._signals.values())

    def fields(self, bits):
        return dict(zip(self._signals, bits, strict=True))

    def show(self, **fields: int):
        """Drive some fields; those that stay as they are cost nothing."""
        for name, value in fields.items():
            if self._shown.get(name) != value:
                self._shown[name] = value
                self._signals[name].value = value
