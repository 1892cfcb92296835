"""The host against real tops of boards: pins, a pseudo-terminal, and `penstock run` on it."""

import dataclasses
import json

import numpy as np
import pytest
from random_networks import builder_for

from penstock.boards.description import load_board
from penstock.boards.serial_link import blocks
from penstock.cli import main
from penstock.compiler import compile_network
from penstock.config import Config, preset
from penstock.images import held_out_digits
from penstock.network import INPUT, SHIPPED, Network, Shape, load_network
from penstock.program import save_program
from penstock.sim.board import build_board
from penstock.sim.board_run import IMAGES, prepare
from penstock.sim.runner import Build, run

CORRUPT = """
import sys
from penstock.boards.host import Board
from penstock.errors import BoardError, PenstockError
from penstock.memory_map import MemoryMap
from penstock.program import load_program
from penstock.registers import Command

program = load_program("program.bin")
content = bytearray(MemoryMap(program, 0).program_bytes())
content[len(content) // 2] ^= 1
with Board(sys.argv[1], int(sys.argv[2])) as board:
    assert board.memory_bytes == MEMORY_BYTES
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


@dataclasses.dataclass(frozen=True)
class Simulated:
    """A board's top at its pins."""

    config: Config
    memory_bytes: int
    build: Build


def simulated(name: str, memory_bytes: int, factory) -> Simulated:
    return Simulated(load_board(name).config, memory_bytes, build_board(name, factory.mktemp(name)))


@pytest.fixture(scope="module")
def ulx3s(tmp_path_factory):
    return simulated("ulx3s-25f", 1 << 25, tmp_path_factory)


@pytest.fixture(scope="module")
def icebreaker(tmp_path_factory):
    return simulated("icebreaker", 1 << 17, tmp_path_factory)


@pytest.fixture(params=["ulx3s", "icebreaker"])
def board(request):
    return request.getfixturevalue(request.param)


def small_network(seed: int = 7) -> Network:
    """A gated network for digits of few weights, random ones, its thresholds near their sums."""
    builder = builder_for(np.random.default_rng(seed), preset("icebreaker"), 10**9)
    builder.start(Shape(channels=1, height=16, width=16, signed=False))
    builder.tensors = {INPUT: held_out_digits(IMAGES)[0]}
    one = (1, 1, 1, 1)
    source = builder.convolution(INPUT, 8, stride=2, padding=one, groups=0)
    source = builder.convolution(source, 8, padding=one, groups=2)
    builder.global_pool(source)
    builder.classifier(10)
    return builder.network("small")


def test_digits(board, tmp_path):
    """The shipped network, gating on and off."""
    parameters = prepare(load_network(SHIPPED["digits"]), board.config, tmp_path)
    run(board.build, "penstock.sim.tb_board", parameters, tests=1, seed=1, folder=tmp_path)
    cycles = json.loads((tmp_path / "cycles.json").read_text())
    assert 0 < cycles["on"] < cycles["off"]


def test_what_goes_wrong(board, tmp_path):
    """Of the host, the cable, the program and the board; and the next run works."""
    network = small_network()
    parameters = prepare(network, board.config, tmp_path)
    other = preset("ulx3s-25f" if board.config.engine == "compact" else "ulx3s-85f")
    save_program(compile_network(network, other), tmp_path / "wrong.bin")
    (tmp_path / "corrupt.py").write_text(f"MEMORY_BYTES = {board.memory_bytes}\n{CORRUPT}")
    bench = "penstock.sim.tb_board_faults"
    run(board.build, bench, parameters, tests=4, seed=1, folder=tmp_path)


def test_small_network_on_a_tang_nano_9k(tmp_path):
    """A small network, gating on and off, from PSRAM."""
    build = build_board("tang-nano-9k", tmp_path)
    parameters = prepare(small_network(), load_board("tang-nano-9k").config, tmp_path)
    run(build, "penstock.sim.tb_board", parameters, tests=1, seed=1, folder=tmp_path)


def test_what_an_icebreaker_shows_and_refuses(icebreaker, tmp_path):
    """LEDs, button, and images that do not fit its SPRAMs."""
    parameters = prepare(small_network(), icebreaker.config, tmp_path)
    images, _ = held_out_digits(360)
    np.save(tmp_path / "many.npy", np.concatenate([images, images]))
    bench = "penstock.sim.tb_icebreaker"
    run(icebreaker.build, bench, parameters, tests=2, seed=1, folder=tmp_path)


@pytest.mark.parametrize("address, size", [(0, 8), (0, 512), (64, 512), (448, 1600), (512, 0)])
def test_transfers_end_at_blocks(address, size):
    made = blocks(address, size)
    covered = [byte for first, part in made for byte in range(first, first + part)]
    assert covered == list(range(address, address + size))
    assert all(first // 512 == (first + part - 1) // 512 for first, part in made if size)


def test_no_such_port(tmp_path, capsys):
    save_program(compile_network(small_network(), preset("tiny")), tmp_path / "small.bin")
    assert main(["run", "--port", "/dev/nothing", str(tmp_path / "small.bin")]) == 2
    assert capsys.readouterr().err == (
        "penstock: error: port /dev/nothing: must be a serial port that can be opened "
        "(No such file or directory)\n"
    )
