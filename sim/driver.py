"""Drives a core's registers as its host would."""

from cocotb.triggers import ClockCycles, First, RisingEdge, Timer

from penstock.registers import ADDRESS, Code, Command
from penstock.sim.streams import CLOCK_PERIOD

_ACCEPTED = 8  # cycles in which the interrupt falls after an accepted command


class CoreDriver:
    """Register reads and writes, and commands that end with the interrupt."""

    def __init__(self, dut, name: str = "registers"):
        self._dut = dut
        self._edge = RisingEdge(dut.clk)
        self._address = getattr(dut, f"{name}__address")
        self._write = getattr(dut, f"{name}__write")
        self._write_data = getattr(dut, f"{name}__write_data")
        self._read_data = getattr(dut, f"{name}__read_data")
        self._write.value = 0

    async def write(self, register: str, value: int):
        """Write a register, by name."""
        self._address.value = ADDRESS[register]
        self._write_data.value = value
        self._write.value = 1
        await self._edge
        self._write.value = 0

    async def read(self, register: str) -> int:
        """Read a register, by name."""
        self._address.value = ADDRESS[register]
        await ClockCycles(self._dut.clk, 2)
        return int(self._read_data.value)

    async def command(self, command: Command, *, timeout: int = 100_000_000) -> Code:
        """Give a command, wait for its end, return its code.

        timeout in cycles. Raises TimeoutError where the interrupt does not come.
        """
        interrupt = self._dut.interrupt
        await self.write("COMMAND", command)
        await ClockCycles(self._dut.clk, _ACCEPTED)
        if not interrupt.value:
            limit = Timer(timeout * CLOCK_PERIOD, "ns")
            if await First(RisingEdge(interrupt), limit) is limit:
                raise TimeoutError(f"{command.name}: no interrupt within {timeout} cycles")
            await self._edge
        return await self.code()

    async def code(self) -> Code:
        """Code of the last command."""
        return Code(await self.read("STATUS") & 0xFF)
