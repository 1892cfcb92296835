"""``penstock synth --liberty``: the cores of configurations in a library's standard cells."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from penstock import display
from penstock.boards.asic import (
    LIBRARY,
    NETLIST,
    VERILOG,
    asic_core,
    asic_verilog,
    figures,
    map_core,
)
from penstock.boards.asic_files import LIBRELANE, SDC, constraints, librelane, rounded_up
from penstock.boards.asic_page import block_table, memory_table, page, summary
from penstock.boards.liberty import read_liberty
from penstock.boards.liberty_syntax import liberty_text
from penstock.boards.tools import Tool
from penstock.config import Config
from penstock.errors import PenstockError
from penstock.network import write_whole
from penstock.output import check_writable, progress, write_all, write_json


def synth_liberty(
    liberty: str,
    configs: Sequence[Config],
    *,
    dont_use: Sequence[str] = (),
    megahertz: float | None = None,
    json: str | None = None,
    markdown: str | None = None,
    folder: str,
) -> None:
    """Map the core of each configuration, print its tables and write its files.

    ``folder/NAME`` gets Verilog, mapped netlist, SDC and LibreLane's configuration, for
    ``megahertz`` or else for the longest path. Raises PenstockError for bad input, before any file
    is written, and SynthesisError where yosys fails.
    """
    names = [config.name for config in configs]
    for name in names:
        if names.count(name) > 1:
            raise PenstockError(f"--config: names must differ, {name!r} comes {names.count(name)}x")
    check_writable(json, markdown)
    path = Path(liberty)
    library = read_liberty(path, dont_use)
    yosys = Tool("yosys")
    console = display.console()
    found = []
    for config in configs:
        into = Path(folder) / config.name
        work = into / "work"
        work.mkdir(parents=True, exist_ok=True)
        (work / LIBRARY).write_text(liberty_text(path))
        with progress(f"mapping {config.name}"):
            core = asic_core(config)
            text = asic_verilog(core)
            mapped = map_core(text, library, dont_use, work, yosys)
            found.append(figures(config, text, library, mapped))
        period = rounded_up(1e3 / megahertz if megahertz else found[-1]["core"]["path"]["time"])
        macros = sorted({memory.macro for memory in mapped.memories})
        files = {VERILOG: text, NETLIST: (work / NETLIST).read_text()}
        files[SDC] = constraints(core, period)
        files[LIBRELANE] = librelane(period, VERILOG, macros)
        write_all(into, files)
        heads, rows = block_table(found[-1])
        short = heads[:-2], [row[:-2] for row in rows]  # without the names of each path's ends
        console.print(_table(f"{config.name}: blocks", *short))
        memories = memory_table(found[-1])
        console.print(_table(f"{config.name}: memories for a memory compiler", *memories))
        console.print(f"{into}: {', '.join(files)}")
    arguments = [path.name if word == liberty else word for word in sys.argv[1:]]
    record = {
        "command": shlex.join(["penstock", *arguments]),
        "yosys": yosys.version,
        "library": {
            "name": library.name,
            "nand2": library.nand2.name,
            "nand2_area": library.nand2.area,
        },
        "configurations": found,
    }
    console.print(_table(library.name, *summary(found)))
    write_json(json, record)
    if markdown:
        write_whole(markdown, page(record).encode())


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    made = display.table(title, *heads)
    for row in rows:
        made.add_row(*row)
    return made
