"""``penstock synth --board NAME``: checks, the flow, what it prints and writes."""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from penstock import display
from penstock.boards.description import BoardDescription, load_board
from penstock.boards.family import LOG
from penstock.boards.measured import best, measured, performance
from penstock.boards.record import FORMAT, load_record, record_text, with_board
from penstock.boards.run_record import load_cycles
from penstock.boards.synthesis import Flow, Seed
from penstock.boards.top import Top, elaborate_top
from penstock.config import Config
from penstock.errors import PenstockError, SynthesisError
from penstock.network import write_whole
from penstock.output import check_writable, progress, progress_bar

CLOCK_MISSED = 1
"""Exit code where no seed reaches the board's clock."""


def synth_board(
    name: str,
    *,
    config: Config | None = None,
    seeds: int = 1,
    run: str | None = None,
    record: str | None = None,
    folder: str | None = None,
) -> int:
    """Make a board's bitstream, with the best of seeds 1..``seeds``; returns the exit code.

    ``config`` takes the place of the board's own. ``run`` is the JSON of a run with the same
    configuration (penstock.boards.run_record), ``record`` a file of penstock.boards.record, which
    may exist. Raises PenstockError before synthesis for whatever is wrong or does not fit the
    device.
    """
    board = load_board(name)
    if config is not None and config.hash != board.config.hash:
        board = dataclasses.replace(board, name=f"{name}-{config.name}", config=config)
    simulated = _load_run(run, board.config) if run else None
    check_writable(record)
    boards = {"format": FORMAT, "boards": []}
    if record is not None and Path(record).exists():
        boards = load_record(record)
    output = Path(folder or Path(os.environ.get("PENSTOCK_BUILD", "build")) / board.name)
    flow = Flow(board.device)
    with progress(f"generating the Verilog of {board.name}"):
        top = elaborate_top(board)
    output.mkdir(parents=True, exist_ok=True)
    check_writable(output / _bitstream(board))

    with progress(f"synthesizing {board.name} (minutes, once)"):
        netlist = flow.synthesize(top)
    tried = _tried(board, flow, top, netlist, seeds)
    if not any(seed.routed for seed in tried):
        raise SynthesisError(
            f"{board.name}: could not be placed and routed, seeds tried: {seeds}\n"
            + flow.nextpnr.tail(tried[-1].folder)
        )
    entry = _entry(board, flow, tried, simulated)
    for file, content in _files(board, flow, top, netlist, best(tried)).items():
        write_whole(output / file, content)
    if record is not None:
        write_whole(record, record_text(with_board(boards, entry)).encode())
    _show(entry, f"openFPGALoader -b {board.loader} {output / entry['bitstream']}")
    if entry["fmax_mhz"] < entry["clock_mhz"]:
        print(
            f"penstock: clock missed: {board.name} needs {entry['clock_mhz']:g} MHz, "
            f"seeds tried: {seeds}, the best reaches {entry['fmax_mhz']:g}",
            file=sys.stderr,
        )
        return CLOCK_MISSED
    return 0


def _tried(board: BoardDescription, flow: Flow, top: Top, netlist: Path, seeds: int) -> list[Seed]:
    """All seeds, routed for the clock; where none meets it, as they come."""
    for for_clock, how in ((True, ""), (False, ", whatever the clock")):
        with progress_bar(f"placing and routing {board.name}{how}, seeds: {seeds}", seeds) as ended:
            tried = flow.route(
                top, netlist, range(1, seeds + 1), board.config, ended, for_clock=for_clock
            )
        if any(seed.routed for seed in tried) or not any(seed.too_slow for seed in tried):
            break
    return tried


def _entry(board: BoardDescription, flow: Flow, seeds: Sequence[Seed], run: dict | None) -> dict:
    """What the record says of the board."""
    clock_mhz = board.clock_hz / 1e6
    return {
        "name": board.name,
        "device": board.device.name,
        "config": board.config.name,
        "macs": board.config.multipliers,
        "clock_mhz": clock_mhz,
        **measured(board.device, seeds),
        **performance(run, clock_mhz),
        "bitstream": _bitstream(board),
        "tools": {"yosys": flow.yosys.version, "nextpnr": flow.nextpnr.version},
    }


def _files(
    board: BoardDescription, flow: Flow, top: Top, netlist: Path, seed: Seed
) -> dict[str, bytes]:
    """What the folder gets."""
    return {
        _bitstream(board): flow.pack(seed),
        f"{board.name}.v": top.verilog.encode(),
        f"{board.name}.{flow.family.constraints_suffix}": top.constraints.encode(),
        "yosys.log": (netlist / "yosys.log").read_bytes(),
        LOG: (seed.folder / LOG).read_bytes(),
    }


def _bitstream(board: BoardDescription) -> str:
    return f"{board.name}.{board.device.family.bitstream_suffix}"


def _load_run(path: str, config: Config) -> dict:
    run = load_cycles(path)
    if run["config"] != config.name:
        raise PenstockError(
            f"{path}: must be a run of configuration {config.name}, not {run['config']}"
        )
    return run


def _show(entry: Mapping, load: str):
    """Resources by block, and what matters in lines."""
    console = display.console()
    resources = list(entry["available"])
    table = display.table(f"{entry['name']}, {entry['device']}", "block", *_HEADINGS.values())
    for block in entry["blocks"]:
        table.add_row(block["name"], *(f"{block[each]:,}" for each in resources))
    table.add_section()
    table.add_row("all", *(f"{entry[each]:,}" for each in resources))
    table.add_row("there are", *(f"{entry['available'][each]:,}" for each in resources))
    console.print(table)
    seeds = [
        f"{seed['fmax_mhz']:.1f}" if seed["routed"] else "not routed" for seed in entry["seeds"]
    ]
    path = entry["critical_path"]
    facts = {
        "clock": f"{entry['clock_mhz']:g} MHz",
        "reached": f"{entry['fmax_mhz']:.1f} MHz, by seed: {', '.join(seeds)}",
        "longest path": f"{path['nanoseconds']:.1f} ns: {path['text']}",
        "load": load,
    }
    console.print(display.fact_table("", facts))


_HEADINGS = {"lut": "LUT4", "ff": "flip-flops", "dsp": "multipliers", "bram": "block RAMs"}
