"""A network on a simulated board, from the host's program to the pins and back.

``python -m penstock.sim.board_run --board NAME --json FILE`` runs the shipped digits, gating on and
off, holds the outputs against the golden model, and writes the cycles that the board's core took
with the board's memory: what `penstock synth --run` takes for the board's speed.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from penstock.boards.description import load_board
from penstock.boards.run_record import board_cycles
from penstock.compiler import compile_network
from penstock.config import Config
from penstock.errors import PenstockError, SimulationError
from penstock.gold.runner import run as golden
from penstock.images import held_out_digits
from penstock.network import SHIPPED, Network, load_network, write_whole
from penstock.output import check_writable
from penstock.program import save_program
from penstock.sim.board import DIVISOR, SURROUNDINGS, build_board
from penstock.sim.runner import run

IMAGES = 4

_HOST = """
import json
import sys
import numpy as np
from penstock.boards.host import Board
from penstock.program import load_program

with Board(sys.argv[1], int(sys.argv[2])) as board:
    board.load(load_program("program.bin"))
    images = np.load("images.npy")
    runs = {way: board.run(images, gating=way == "on") for way in ("on", "off")}
    np.savez("outputs.npz", **{way: run.outputs for way, run in runs.items()})
    with open("cycles.json", "w") as file:
        json.dump({way: run.cycles / len(images) for way, run in runs.items()}, file)
"""
"""A program of the host's: loads a network once and runs it both ways."""


def prepare(network: Network, config: Config, folder: Path, images: int = IMAGES) -> dict:
    """Files and parameters of tb_board: program, digits, what the golden model makes of them."""
    program = compile_network(network, config)
    inputs, _ = held_out_digits(images)
    results = {way: golden(network, inputs, way == "on") for way in ("on", "off")}
    for decisions in results["on"].decisions.values():
        assert 0 < decisions.mean() < 1
    last = network.layers[-1].name
    np.savez(folder / "golden.npz", **{way: r.tensors[last] for way, r in results.items()})
    np.save(folder / "images.npy", inputs)
    save_program(program, folder / "program.bin")
    (folder / "both.py").write_text(_HOST)
    return {"program_bytes": 8 * program.header["length"], "divisor": DIVISOR}


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--board", required=True, choices=SURROUNDINGS)
    parser.add_argument("--json", required=True, metavar="FILE")
    options = parser.parse_args(arguments)
    try:
        check_writable(options.json)
        board, network = load_board(options.board), load_network(SHIPPED["digits"])
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work)
            build = build_board(board.name, folder)
            parameters = prepare(network, board.config, folder)
            run(build, "penstock.sim.tb_board", parameters, tests=1, seed=1, folder=folder)
            cycles = json.loads((folder / "cycles.json").read_text())
        record = board_cycles(board.config.name, network.name, IMAGES, cycles["on"], cycles["off"])
        write_whole(options.json, (json.dumps(record, indent=2) + "\n").encode())
    except PenstockError as error:
        print(f"penstock: error: {error}", file=sys.stderr)
        return 1 if isinstance(error, SimulationError) else 2
    print(
        f"{board.name}: {network.name}, {IMAGES} images: outputs equal the golden model's; "
        f"{cycles['on']:,.1f} cycles an image, {cycles['off']:,.1f} without gating"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
