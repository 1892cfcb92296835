"""What a mapped core is handed on with: constraints, and a configuration for LibreLane."""

import json
import math
from collections.abc import Sequence

from amaranth.lib import wiring

from penstock.hw.integration import CORE, sdc, top_ports
from penstock.hw.ram_macro import Macro
from penstock.hw.verilog import CORE_TOP

SDC = f"{CORE_TOP}.sdc"
LIBRELANE = "config.json"


def constraints(core: wiring.Component, period: float) -> str:
    """SDC of a core for a clock period in ns: clock, delays outside, reset as any input."""
    return sdc(core.cfg, CORE, top_ports(core, CORE), period)


def librelane(period: float, verilog: str, macros: Sequence[Macro]) -> str:
    """LibreLane's configuration of the core for a clock period in ns.

    Each memory is a macro whose views lie in ``macros/``, as the memory compiler gave them.
    """
    content = {
        "meta": {"version": 2},
        "DESIGN_NAME": CORE_TOP,
        "VERILOG_FILES": [f"dir::{verilog}"],
        "CLOCK_PORT": CORE.clock,
        "CLOCK_PERIOD": period,
        "PNR_SDC_FILE": f"dir::{SDC}",
        "SIGNOFF_SDC_FILE": f"dir::{SDC}",
        "MACROS": {
            macro.name: {
                "gds": [f"dir::macros/{macro.name}.gds"],
                "lef": [f"dir::macros/{macro.name}.lef"],
                "lib": {"*": [f"dir::macros/{macro.name}.lib"]},
            }
            for macro in macros
        },
    }
    return json.dumps(content, indent=2) + "\n"


def rounded_up(period: float) -> float:
    """A period in ns with two digits behind the point, not shorter."""
    return math.ceil(round(100 * period, 6)) / 100
