"""The block that is dropped into a system on chip: the core behind AXI."""

from amaranth.hdl import ClockDomain, DomainRenamer, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.axi import axi_lite_signature, axi_signature, connect_ports, ports
from penstock.hw.axi_memory import AxiMemory
from penstock.hw.axi_registers import AxiRegisters
from penstock.hw.engine_choice import make_core


class Accelerator(wiring.Component):
    """The core with an AXI4-Lite slave ``s_axil`` for its registers and an AXI4 master ``m_axi``.

    One clock ``aclk``; ``aresetn`` is synchronous and active low. ``interrupt`` is the core's.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        self.core = make_core(cfg)
        super().__init__(
            {"aclk": In(1), "aresetn": In(1)}
            | ports("s_axil", axi_lite_signature().flip())
            | ports("m_axi", axi_signature(cfg.axi_bits))
            | {"interrupt": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        # Amaranth 0.5.10 refuses a local domain "sync" below another one of that name.
        m.domains.aclk = domain = ClockDomain("aclk", local=True)
        m.d.comb += [domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn)]
        m.submodules.core = core = self.core
        m.submodules.registers = registers = AxiRegisters()
        m.submodules.memory = memory = AxiMemory(self.cfg.axi_bits)
        connect_ports(m, self, "s_axil", registers.axi)
        connect_ports(m, self, "m_axi", memory.axi)
        wiring.connect(m, registers.bus, core.registers)
        wiring.connect(m, core.memory, memory.memory)
        m.d.comb += self.interrupt.eq(core.interrupt)
        return DomainRenamer("aclk")(m)
