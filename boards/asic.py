"""Mapping of the core to a library of standard cells, with yosys and abc, and what it takes.

Each part of the core (`penstock.boards.blocks`) is mapped by itself, so that every cell has its
part; timing crosses them.
"""

import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from amaranth.lib import wiring

from penstock.boards.blocks import BLOCKS, part
from penstock.boards.liberty import Library
from penstock.boards.mapped import Netlist, netlist
from penstock.boards.timing import Timing, TimingPath
from penstock.boards.tools import Tool
from penstock.config import Config
from penstock.hw.engine_choice import make_core
from penstock.hw.verilog import CORE_TOP, verilog_file

TARGET = "asic"
VERILOG = f"{CORE_TOP}.v"
NETLIST = f"{CORE_TOP}_mapped.v"
LIBRARY = "library.lib"

_ABC = "strash; dch; map -B 0.9; topo; buffer -c; upsize; dnsize\n"
"""Structural choices, mapping for delay, buffers, sizes: a compromise of quality and time."""

_ROW = re.compile(r"\\?penstock_core\.engine\.array\.multipliers_\d+")


def block_of(name: str) -> str:
    """The block of an instance of the core, by its path."""
    return part(f"core.{name}")[1]


def map_core(
    text: str, library: Library, dont_use: Sequence[str], work: Path, yosys: Tool
) -> Netlist:
    """Map the Verilog of `asic_verilog` in a folder that holds the library as LIBRARY.

    The folder then has NETLIST, what the core becomes, as well. Where it has one of the same
    inputs already, yosys need not run again. Raises SynthesisError where it fails.
    """
    # What abc takes for granted around each part: the smallest buffer drives it, ten gates follow.
    load = 10e3 * max(library.nand2.pins_of("input")[0].capacitance)
    inputs = {
        "mapping.v": _share_rows(text),
        "abc.script": _ABC,
        "abc.constr": f"set_driving_cell {library.buffers[0].name}\nset_load {load:.3f}\n",
        "map.ys": script(text, dont_use),
    }
    stamp = hashlib.sha256((work / LIBRARY).read_bytes())
    for content in (yosys.version, *inputs.values()):
        stamp.update(content.encode())
    done = work / "done"
    if not done.exists() or done.read_text() != stamp.hexdigest():
        done.unlink(missing_ok=True)
        for name, content in inputs.items():
            (work / name).write_text(content)
        yosys.check(["-q", "-l", "yosys.log", "map.ys"], work)
        done.write_text(stamp.hexdigest())
    modules = json.loads((work / "mapped.json").read_text())["modules"]
    return netlist(modules, CORE_TOP, library)


def asic_core(config: Config) -> wiring.Component:
    """A configuration's core with black boxes for its memories."""
    return make_core(dataclasses.replace(config, target=TARGET))


def asic_verilog(core: wiring.Component) -> str:
    """The Verilog of a core of `asic_core`."""
    return verilog_file(core.cfg, core, CORE_TOP)


def script(text: str, dont_use: Sequence[str]) -> str:
    """Yosys' commands for the Verilog of a core."""
    unused = "".join(f" -dont_use {pattern}" for pattern in dont_use)
    return "\n".join(
        [
            "read_verilog mapping.v",
            f"hierarchy -check -top {CORE_TOP}",
            *(
                f"setattr -mod -set keep_hierarchy 1 {module}"
                for module in _parts(_share_rows(text))
            ),
            "proc",
            "flatten",
            "check -assert",
            "setattr -unset init w:*",  # a chip's flip-flops begin with any value
            f"synth -top {CORE_TOP} -run coarse:check -noabc -booth",
            f"dfflibmap -liberty {LIBRARY}{unused}",
            "opt -fast",
            f"abc -liberty {LIBRARY}{unused} -constr abc.constr -script abc.script",
            "opt_clean",
            "write_json mapped.json",
            f"write_verilog -noattr {NETLIST}",
            "",
        ]
    )


def _modules(text: str) -> list[str]:
    return re.findall(r"^module \\?(\S+?)[ (]", text, re.MULTILINE)


def _parts(text: str) -> list[str]:
    """The modules of a core's Verilog that are mapped by themselves: one for each part."""
    chosen = []
    for module in _modules(text):
        path = module.removeprefix(f"{CORE_TOP}.")
        known = part(f"core.{path}")
        below = path.rpartition(".")[0]
        if path != module and (_ROW.fullmatch(module) or known != part(f"core.{below}")):
            chosen.append(module)
    return chosen


def _share_rows(text: str) -> str:
    """The Verilog with one module for the multipliers of all rows, which are the same."""
    rows = [name for name in _modules(text) if _ROW.fullmatch(name)]
    bodies = {}
    for name in rows:
        begin = text.index(f"module \\{name} ")
        end = text.index("endmodule", begin) + len("endmodule\n")
        bodies[name] = text[begin:end]
    first = rows[0]
    for name in rows[1:]:
        if bodies[name].replace(name, first) == bodies[first]:
            text = text.replace(bodies[name], "").replace(f"\\{name} ", f"\\{first} ")
    return text


def figures(config: Config, text: str, library: Library, mapped: Netlist) -> dict:
    """What a core, its Verilog mapped, takes by block and in all; its longest paths and memories.

    Areas in the library's unit and in thousands of NAND2, times in ns.
    """
    paths = Timing(mapped, library).longest(block_of)
    counts: Counter[tuple[str, str]] = Counter()
    for kind, instances in mapped.cells.items():
        for name in instances.names:
            counts[block_of(name), kind] += 1
    blocks = {}
    for block in BLOCKS:
        kinds = Counter({kind: count for (of, kind), count in counts.items() if of == block})
        if kinds:
            blocks[block] = _size(kinds, library) | {"path": _described(paths.get(block))}
    every = Counter()
    for (_, kind), count in counts.items():
        every[kind] += count
    longest = max(paths.values(), key=lambda path: path.time)
    return {
        "name": config.name,
        "config": config.fields(),
        "multipliers": config.multipliers,
        "core": _size(every, library) | {"path": _described(longest)},
        "blocks": blocks,
        "memories": _memories(mapped),
        "small_memories": small_memories(text),
    }


def _size(kinds: Counter[str], library: Library) -> dict:
    area = sum(count * library.cells[kind].area for kind, count in kinds.items())
    flip_flops = sum(n for kind, n in kinds.items() if library.cells[kind].is_flip_flop)
    return {
        "cells": kinds.total(),
        "flip_flops": flip_flops,
        "area": round(area, 3),
        "kilogates": round(area / library.nand2.area / 1e3, 3),
    }


def _described(path: TimingPath | None) -> dict | None:
    if path is None:
        return None
    # Amaranth numbers a signal whose name is another's, too.
    start, end = (re.sub(r"\$\d+(?=[.[]|$)", "", name) for name in (path.start, path.end))
    return dataclasses.asdict(path) | {"time": path.time, "start": start, "end": end}


def _memories(mapped: Netlist) -> list[dict]:
    """Each size of memory: its ports, how many there are and in which blocks."""
    found = Counter((each.macro, block_of(each.name)) for each in mapped.memories)
    return [
        {"module": macro.name, **dataclasses.asdict(macro), "count": count, "block": block}
        for (macro, block), count in sorted(found.items())
    ]


def small_memories(text: str) -> list[dict]:
    """The memories of a core's Verilog that become flip-flops: instance, words, width."""
    found = []
    for name, body in re.findall(
        r"^module \\?(\S+?)[ (](.*?)^endmodule", text, re.MULTILINE | re.DOTALL
    ):
        sizes = re.findall(r"^\s*reg \[(\d+):0\] \S+ \[(\d+):0\];", body, re.MULTILINE)
        found += [(name, int(last) + 1, int(high) + 1) for high, last in sizes]
        for parameters in re.findall(r"penstock_ram_generic #\((.*?)\n  \)", body, re.DOTALL):
            values = dict(re.findall(r"\.(\w+)\(32'd(\d+)\)", parameters))
            found.append((name, int(values["DEPTH"]), int(values["WIDTH"])))
    return [
        {"instance": name.removeprefix(f"{CORE_TOP}."), "words": words, "width": width}
        for name, words, width in found
        if name.startswith(f"{CORE_TOP}.")
    ]
