"""The clock of an iCE40: a PLL makes it of the oscillator, with the reset that belongs to it."""

from dataclasses import dataclass

from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, IOPort, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In

from penstock.errors import PenstockError

INPUT_HZ = 10_000_000, 133_000_000
VCO_HZ = 533_000_000, 1_066_000_000
OUTPUT_HZ = 16_000_000, 275_000_000
"""iCE40 UltraPlus data sheet (FPGA-DS-02008), sysCLOCK PLL timing; dividers: FPGA-TN-02052."""

FILTERS = ((17, 1), (26, 2), (44, 3), (66, 4), (101, 5), (133, 6))
"""(up to MHz of the phase detector, setting of the loop filter), as Lattice's tool and icepll."""

MAX_FEEDBACK, MAX_OUTPUT_SHIFT = 128, 6


@dataclass(frozen=True, kw_only=True)
class Ice40PllSettings:
    """Dividers of an SB_PLL40_PAD: ``output = input * feedback >> output_shift``."""

    feedback: int
    output_shift: int
    filter_range: int

    def parameters(self) -> dict[str, Const | str]:
        """Those of the SB_PLL40_PAD, in its simple mode without an input divider."""
        return {
            "FEEDBACK_PATH": "SIMPLE",
            "DIVR": Const(0, 4),
            "DIVF": Const(self.feedback - 1, 7),
            "DIVQ": Const(self.output_shift, 3),
            "FILTER_RANGE": Const(self.filter_range, 3),
        }


def ice40_pll_settings(input_hz: int, output_hz: int) -> Ice40PllSettings:
    """Settings that give exactly ``output_hz``. Raises PenstockError where none does."""
    for name, value, (low, high) in (
        ("input_hz", input_hz, INPUT_HZ),
        ("output_hz", output_hz, OUTPUT_HZ),
    ):
        if not low <= value <= high:
            raise PenstockError(f"PLL: {name} must be in {low:,}..{high:,}, not {value:,}")
    for shift in range(1, MAX_OUTPUT_SHIFT + 1):
        vco_hz = output_hz << shift
        feedback, rest = divmod(vco_hz, input_hz)
        if not rest and feedback <= MAX_FEEDBACK and VCO_HZ[0] <= vco_hz <= VCO_HZ[1]:
            setting = next(value for limit, value in FILTERS if input_hz <= limit * 10**6)
            return Ice40PllSettings(feedback=feedback, output_shift=shift, filter_range=setting)
    raise PenstockError(
        f"PLL: output_hz must be {input_hz:,} * n / 2^q, n up to {MAX_FEEDBACK}, q in "
        f"1..{MAX_OUTPUT_SHIFT}, before the division {VCO_HZ[0]:,}..{VCO_HZ[1]:,}, "
        f"not {output_hz:,}"
    )


class Ice40Clock(wiring.Component):
    """Drives the domain ``sync`` from the oscillator at a pin of a PLL.

    It is reset while ``reset`` is high, from any clock, and until the PLL has locked, which is also
    longer than block RAMs read as 0 after configuration; the reset ends with its clock. Whoever
    uses it takes the domain over.
    """

    def __init__(self, settings: Ice40PllSettings, pin: IOPort):
        self.settings = settings
        self.pin = pin
        self.sync = ClockDomain("sync")
        super().__init__({"reset": In(1)})

    def elaborate(self, platform):
        m = Module()
        locked = Signal()
        parameters = {f"p_{name}": value for name, value in self.settings.parameters().items()}
        m.submodules.pll = Instance(
            "SB_PLL40_PAD",
            i_PACKAGEPIN=self.pin,
            i_RESETB=Const(1, 1),
            i_BYPASS=Const(0, 1),
            o_PLLOUTGLOBAL=ClockSignal("sync"),
            o_LOCK=locked,
            **parameters,
        )
        m.submodules.reset = ResetSynchronizer(self.reset | ~locked, domain="sync")
        return m
