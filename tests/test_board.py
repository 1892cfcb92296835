"""The host against a simulated board: its pins, a pseudo-terminal, and `penstock run` on it."""

import dataclasses

import numpy as np
import pytest
from random_networks import Builder

from penstock.boards.serial_link import blocks
from penstock.cli import main
from penstock.compiler import compile_network
from penstock.config import preset
from penstock.gold.runner import run as golden
from penstock.images import held_out_digits
from penstock.network import INPUT, Network, Shape
from penstock.program import save_program
from penstock.sim.board import simulated_board
from penstock.sim.runner import build_component, run

TINY = preset("tiny")
IMAGES = 4
CORRUPT = """
import sys
from penstock.boards.host import Board
from penstock.errors import BoardError, PenstockError
from penstock.memory_map import MemoryMap
from penstock.program import load_program
from penstock.registers import Command

program = load_program("program.bin")
content = bytearray(MemoryMap(program, 0).program_bytes())
content[-1] ^= 1
with Board(sys.argv[1], int(sys.argv[2])) as board:
    assert board.memory_bytes == 1 << 17
    board.write_memory(0, bytes(content))
    assert board.read_memory(0, len(content)) == content
    try:
        board._command(Command.LOAD)
    except BoardError as error:
        assert str(error).endswith("LOAD ended with code 5: the program is corrupt"), error
    else:
        raise AssertionError("a corrupt program must be refused")
    try:
        board.run(None)
    except PenstockError as error:
        assert str(error).endswith("must have a program loaded before a run"), error
    else:
        raise AssertionError("a run without a program must be refused")
"""


def small_network(seed: int = 7) -> Network:
    """A gated network for digits of few weights, random ones, its thresholds near their sums."""
    builder = Builder(np.random.default_rng(seed), TINY, 10**9)
    builder.start(Shape(channels=1, height=16, width=16, signed=False))
    builder.tensors = {INPUT: held_out_digits(IMAGES)[0]}
    one = (1, 1, 1, 1)
    source = builder.convolution(INPUT, 8, stride=2, padding=one, groups=0)
    source = builder.convolution(source, 8, padding=one, groups=2)
    builder.global_pool(source)
    builder.classifier(10)
    return builder.network("small")


def test_simulated_board(tmp_path):
    network = small_network()
    program = compile_network(network, TINY)
    images, _ = held_out_digits(IMAGES)
    results = {way: golden(network, images, way == "on") for way in ("on", "off")}
    for decisions in results["on"].decisions.values():
        assert 0 < decisions.mean() < 1
    last = network.layers[-1].name
    np.savez(tmp_path / "golden.npz", **{way: r.tensors[last] for way, r in results.items()})
    np.save(tmp_path / "images.npy", images)
    save_program(program, tmp_path / "program.bin")
    other = dataclasses.replace(TINY, name="other", queue_groups=16)
    save_program(compile_network(network, other), tmp_path / "wrong.bin")
    (tmp_path / "corrupt.py").write_text(CORRUPT)
    parameters = {"program_bytes": 8 * program.header["length"]}
    build = build_component(simulated_board(TINY))
    run(build, "penstock.sim.tb_board", parameters, tests=5, seed=1, folder=tmp_path)


@pytest.mark.parametrize("address, size", [(0, 8), (0, 512), (64, 512), (448, 1600), (512, 0)])
def test_transfers_end_at_blocks(address, size):
    made = blocks(address, size)
    covered = [byte for first, part in made for byte in range(first, first + part)]
    assert covered == list(range(address, address + size))
    assert all(first // 512 == (first + part - 1) // 512 for first, part in made if size)


def test_no_such_port(tmp_path, capsys):
    save_program(compile_network(small_network(), TINY), tmp_path / "small.bin")
    assert main(["run", "--port", "/dev/nothing", str(tmp_path / "small.bin")]) == 2
    assert capsys.readouterr().err == (
        "penstock: error: port /dev/nothing: must be a serial port that can be opened "
        "(No such file or directory)\n"
    )
