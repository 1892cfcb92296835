"""Drives the registers as their host would: through the core's register port, or AXI4-Lite."""

from cocotb.triggers import ClockCycles, First, RisingEdge, Timer

from penstock.hw.axi import Response
from penstock.hw.layouts import REGISTER_LATENCY
from penstock.registers import ADDRESS, Code, Command
from penstock.sim.streams import CLOCK_PERIOD

_ACCEPTED = 8  # cycles in which the interrupt falls after an accepted command


class RegisterDriver:
    """Register reads and writes, and commands that end with the interrupt."""

    def __init__(self, dut, clock):
        self._interrupt = dut.interrupt
        self._clock = clock
        self._edge = RisingEdge(clock)

    async def write(self, register: str, value: int):
        """Write a register, by name."""
        raise NotImplementedError

    async def read(self, register: str) -> int:
        """Read a register, by name."""
        raise NotImplementedError

    async def command(self, command: Command, *, timeout: int = 100_000_000) -> Code:
        """Give a command, wait for its end, return its code.

        timeout in cycles. Raises TimeoutError where the interrupt does not come.
        """
        await self.write("COMMAND", command)
        await ClockCycles(self._clock, _ACCEPTED)
        if not self._interrupt.value:
            limit = Timer(timeout * CLOCK_PERIOD, "ns")
            if await First(RisingEdge(self._interrupt), limit) is limit:
                raise TimeoutError(f"{command.name}: no interrupt within {timeout} cycles")
            await self._edge
        return await self.code()

    async def code(self) -> Code:
        """Code of the last command."""
        return Code(await self.read("STATUS") & 0xFF)


class CoreDriver(RegisterDriver):
    """Through the register port of a core."""

    def __init__(self, dut, name: str = "registers"):
        super().__init__(dut, dut.clk)
        self._address = getattr(dut, f"{name}__address")
        self._write = getattr(dut, f"{name}__write")
        self._write_data = getattr(dut, f"{name}__write_data")
        self._read_data = getattr(dut, f"{name}__read_data")
        self._write.value = 0

    async def write(self, register: str, value: int):
        self._address.value = ADDRESS[register]
        self._write_data.value = value
        self._write.value = 1
        await self._edge
        self._write.value = 0

    async def read(self, register: str) -> int:
        self._address.value = ADDRESS[register]
        await ClockCycles(self._clock, REGISTER_LATENCY + 1)
        return int(self._read_data.value)


class AxiDriver(RegisterDriver):
    """Through the AXI4-Lite slave of an accelerator, one access at a time.

    Raises RuntimeError for an answer other than OKAY.
    """

    def __init__(self, dut, prefix: str = "s_axil"):
        super().__init__(dut, dut.aclk)
        self._dut, self._prefix = dut, prefix
        for name in ("awvalid", "wvalid", "arvalid", "awprot", "arprot"):
            self._signal(name).value = 0
        self._signal("wstrb").value = 0xF
        self._signal("bready").value = self._signal("rready").value = 1

    async def write(self, register: str, value: int):
        self._signal("awaddr").value = ADDRESS[register]
        self._signal("wdata").value = value
        await self._send("aw", "w")
        await self._answer("b", f"write of {register}")

    async def read(self, register: str) -> int:
        self._signal("araddr").value = ADDRESS[register]
        await self._send("ar")
        await self._answer("r", f"read of {register}")
        return int(self._signal("rdata").value)

    def _signal(self, name: str):
        return getattr(self._dut, f"{self._prefix}_{name}")

    async def _send(self, *channels: str):
        """Offer a word on each of some channels until it is taken."""
        waiting = set(channels)
        for channel in waiting:
            self._signal(f"{channel}valid").value = 1
        while waiting:
            await self._edge
            for channel in [each for each in waiting if self._signal(f"{each}ready").value]:
                self._signal(f"{channel}valid").value = 0
                waiting.remove(channel)

    async def _answer(self, channel: str, access: str):
        """Wait for the answer to an access; returns at the edge that takes it."""
        await self._edge
        while not self._signal(f"{channel}valid").value:
            await self._edge
        response = Response(int(self._signal(f"{channel}resp").value))
        if response != Response.OKAY:
            raise RuntimeError(f"{access} must be answered with OKAY, not {response.name}")
