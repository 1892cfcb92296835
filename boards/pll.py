"""Clocks of an ECP5: one PLL makes a board's two clocks, and a reset, from its oscillator."""

from dataclasses import dataclass
from fractions import Fraction

from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In

from penstock.errors import PenstockError

FREQUENCIES = 10_000_000, 400_000_000
"""Hz of input, phase detector and outputs; the data sheet lets only the detector have no less."""

VCO_HZ = 400_000_000, 800_000_000
MAX_FEEDBACK_DIVIDER = 80
"""As those above: ECP5 data sheet (FPGA-DS-02012), sysCLOCK PLL timing; FPGA-TN-02200."""

PHASE_STEPS = 8
"""Of a cycle of the VCO."""


@dataclass(frozen=True, kw_only=True)
class PllSettings:
    """Dividers of an EHXPLLL, and by how many steps its output CLKOS leads CLKOP."""

    input_divider: int
    feedback_divider: int
    output_divider: int
    lead_steps: int
    vco_hz: int

    def parameters(self) -> dict[str, int | str]:
        """Those of the EHXPLLL. A phase is a delay, in whole and in eighths of VCO cycles."""
        cycle = PHASE_STEPS * self.output_divider
        delay, eighths = divmod(-self.lead_steps % cycle, PHASE_STEPS)
        undelayed = self.output_divider - 1
        return {
            "CLKI_DIV": self.input_divider,
            "CLKFB_DIV": self.feedback_divider,
            "FEEDBK_PATH": "CLKOP",
            "CLKOP_ENABLE": "ENABLED",
            "CLKOP_DIV": self.output_divider,
            "CLKOP_CPHASE": undelayed,
            "CLKOP_FPHASE": 0,
            "CLKOS_ENABLE": "ENABLED",
            "CLKOS_DIV": self.output_divider,
            "CLKOS_CPHASE": undelayed + delay,
            "CLKOS_FPHASE": eighths,
        }


def pll_settings(input_hz: int, output_hz: int, lead_ns: float) -> PllSettings:
    """Settings for two outputs of exactly ``output_hz``, the second ``lead_ns`` before the first.

    The lead is rounded to a step, an eighth of a VCO cycle; the VCO runs as near to the middle of
    its range as it can. Raises PenstockError for a frequency that no setting gives, and for a lead
    of a cycle or more.
    """
    for name, value in (("input_hz", input_hz), ("output_hz", output_hz)):
        low, high = FREQUENCIES
        if not low <= value <= high:
            raise PenstockError(f"PLL: {name} must be in {low:,}..{high:,}, not {value:,}")
    if not 0 <= lead_ns * output_hz < 10**9:
        raise PenstockError(
            f"PLL: lead_ns must be 0 or more, less than a cycle of {output_hz:,} Hz, not {lead_ns}"
        )
    # In lowest terms: a larger input divider would only slow the phase detector down.
    ratio = Fraction(output_hz, input_hz)
    slowest = input_hz // FREQUENCIES[0]
    if ratio.numerator > MAX_FEEDBACK_DIVIDER or ratio.denominator > slowest:
        raise PenstockError(
            f"PLL: output_hz must be {input_hz:,} times an integer of up to "
            f"{MAX_FEEDBACK_DIVIDER}, divided by one of up to {slowest}, not {output_hz:,}"
        )
    output_divider = round(sum(VCO_HZ) / 2 / output_hz)
    vco_hz = output_hz * output_divider
    return PllSettings(
        input_divider=ratio.denominator,
        feedback_divider=ratio.numerator,
        output_divider=output_divider,
        lead_steps=round(Fraction(lead_ns) * PHASE_STEPS * vco_hz / 10**9),
        vco_hz=vco_hz,
    )


class Ecp5Clocks(wiring.Component):
    """Drives the domain ``sync``, and ``early``, whose clock leads it by the settings' lead.

    ``clk`` is the oscillator. ``sync`` is reset while ``reset`` is high, from any clock, and until
    the PLL has locked; the reset ends with its clock. ``early`` has no reset. Whoever uses them
    takes the two domains over.
    """

    def __init__(self, settings: PllSettings):
        self.settings = settings
        self.sync = ClockDomain("sync")
        self.early = ClockDomain("early", reset_less=True)
        super().__init__({"clk": In(1), "reset": In(1)})

    def elaborate(self, platform):
        m = Module()
        locked = Signal()
        low = ("RST", "STDBY", "PHASESEL0", "PHASESEL1", "PHASEDIR", "PHASESTEP", "PHASELOADREG")
        ports = {f"i_{name}": Const(0, 1) for name in low}
        parameters = {f"p_{name}": value for name, value in self.settings.parameters().items()}
        m.submodules.pll = Instance(
            "EHXPLLL",
            # The loop filter's, as in what Lattice's tools write.
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            i_CLKI=self.clk,
            i_CLKFB=ClockSignal("sync"),
            o_CLKOP=ClockSignal("sync"),
            o_CLKOS=ClockSignal("early"),
            o_LOCK=locked,
            **ports,
            **parameters,
        )
        m.submodules.reset = ResetSynchronizer(self.reset | ~locked, domain="sync", stages=3)
        return m
