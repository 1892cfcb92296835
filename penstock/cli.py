"""The command line ``penstock``. Exit codes: 0 done, 1 hardware or tools failed, 2 bad input.

Imports of simulator, Amaranth and PyTorch happen in the commands that need them.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from penstock import __version__
from penstock.boards import BOARDS
from penstock.config import PRESETS, Config
from penstock.configuration_file import load_config
from penstock.errors import BoardError, PenstockError, SimulationError, SynthesisError
from penstock.network import SHIPPED, Classifier, Network, load_network, write_whole
from penstock.output import check_writable, progress, progress_bar, write_all, write_json

if TYPE_CHECKING:
    import numpy as np

    from penstock.program import Program
    from penstock.sim.simulate import Run

DIFFER = 1
BAD_INPUT = 2
INTERRUPTED = 130
MOST_SEEDS = 64
DIGITS = "digits"
"""The shipped network of `demo` and `bench`; the default of `train`."""


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, as every other bad input."""

    def error(self, message: str):
        raise PenstockError(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Bad input becomes one line on standard error."""
    try:
        options = _parser().parse_args(arguments)
        code = options.command(options) or 0
        sys.stdout.flush()
        return code
    except PenstockError as error:
        print(f"penstock: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except (SimulationError, BoardError, SynthesisError) as error:
        print(f"penstock: {error}", file=sys.stderr)
        return DIFFER
    except KeyboardInterrupt:
        print("penstock: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, say
        print(f"penstock: error: {error}", file=sys.stderr)
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="penstock", description="Accelerators for channel-gated networks.")
    parser.add_argument("--version", action="version", version=f"penstock {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    _add_train(commands)
    _add_compile(commands)
    _add_verilog(commands)
    _add_simulate(commands)
    _add_compare(commands)
    _add_run(commands)
    _add_synth(commands)
    _add_report(commands)
    _add_bench(commands)
    _add_results(commands)
    _add_demo(commands)
    return parser


def _command(commands, name: str, command: Callable, help: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
    parser.set_defaults(command=command)
    return parser


def _add_config(parser: argparse.ArgumentParser, **options):
    parser.add_argument(
        "--config",
        metavar="NAME",
        help=f"configuration: {', '.join(PRESETS)}, or a JSON file of its fields",
        **options,
    )


def _add_seed(parser: argparse.ArgumentParser, purpose: str):
    parser.add_argument(
        "--seed", type=_seed, metavar="N", default=0, help=f"of {purpose}; default: 0"
    )


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"must be an integer in 0..{2**32 - 1}, not {text!r}")
    return int(text)


def _add_json(parser: argparse.ArgumentParser):
    parser.add_argument("--json", metavar="FILE", help="write all figures into this file")


def _add_train(commands):
    parser = _command(commands, "train", _train, "train, quantize and measure a gated network")
    parser.add_argument("--model", default=DIGITS, help=f"{DIGITS}, resnet20, resnet32, ...")
    parser.add_argument("--dataset", help="digits or cifar10, as the model wants")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="cifar-10-batches-py")
    parser.add_argument("--gated", metavar="CONVS", help="of a block: none, conv1 or both")
    parser.add_argument("--groups", type=int, metavar="P", help="base paths see 1/P of the inputs")
    parser.add_argument(
        "--target", type=float, metavar="T", help="of the thresholds: higher skips more"
    )
    parser.add_argument("--start", type=Path, metavar="FILE", help="float weights to begin with")
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="FILE",
        help="float weights of a dense network to learn from",
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="default: 60 digits, 30 cifar10")
    parser.add_argument("--batch", type=int, metavar="N", help="default: 64 digits, 128 cifar10")
    parser.add_argument("--learning-rate", type=float, metavar="X", help="the peak")
    parser.add_argument("--output", metavar="FILE", help="default: MODEL.safetensors")
    parser.add_argument("--float", metavar="FILE", help="write the float weights, too")
    parser.add_argument("--log", metavar="FILE", help="write a line of JSON for each epoch")
    parser.add_argument(
        "--state",
        metavar="FILE",
        help="keeps the training; one that was interrupted goes on; default: OUTPUT.training",
    )
    _add_seed(parser, "weights and batches")
    _add_json(parser)


def _add_compile(commands):
    parser = _command(commands, "compile", _compile, "compile a network for a configuration")
    parser.add_argument(
        "network",
        metavar="NETWORK",
        help=f"network file, ONNX model (.onnx), or a shipped network: {', '.join(SHIPPED)}",
    )
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="IMAGES",
        help="of a float ONNX model: .npz or .npy of images (N, C, H, W), uint8",
    )
    parser.add_argument(
        "--input-scale",
        type=float,
        metavar="X",
        help="of a float ONNX model: real value of one level of an image; default: 1/255",
    )
    _add_config(parser, required=True)
    parser.add_argument("-o", "--output", metavar="PROGRAM", required=True)


def _add_verilog(commands):
    parser = _command(
        commands, "verilog", _verilog, "write an accelerator as Verilog, with its integration kit"
    )
    _add_config(parser, required=True)
    parser.add_argument(
        "--target",
        metavar="NAME",
        help="technology of multipliers and memories: generic; of arrays ecp5, asic; of icebreaker "
        "ice40",
    )
    _add_design(parser)
    parser.add_argument("-o", "--output", metavar="FILE.v", required=True)


def _add_design(parser: argparse.ArgumentParser):
    design = parser.add_mutually_exclusive_group()
    design.add_argument(
        "--axi-bits", type=int, metavar="N", help="data width of the AXI master: 32, 64 or 128"
    )
    design.add_argument(
        "--core", action="store_true", help="the core alone, with memory streams instead of AXI"
    )


def _add_simulate(commands):
    parser = _command(commands, "simulate", _simulate, "run a program on the simulated hardware")
    _add_run_options(parser)


def _add_compare(commands):
    parser = _command(
        commands, "compare", _compare, "hold the simulated hardware against the golden model"
    )
    _add_run_options(parser)


def _add_run(commands):
    parser = _command(commands, "run", _run_board, "run a program on a board, over its serial port")
    parser.add_argument("--port", metavar="PORT", required=True, help="/dev/ttyUSB1, COM3, ...")
    parser.add_argument("program", metavar="PROGRAM", help="program file of `penstock compile`")
    parser.add_argument(
        "input",
        metavar="IMAGES.npy",
        nargs="?",
        help="(N, C, H, W), uint8 or int8; default: digits",
    )
    parser.add_argument("--images", type=int, metavar="N", help="default: 8 digits, or all of FILE")
    parser.add_argument("--baud", type=_baud, metavar="N", help="of the board; default: 1,000,000")
    parser.add_argument("--no-gating", action="store_true", help="as dense convolutions")
    parser.add_argument("--output", metavar="FILE.npz", help="write the outputs into this file")
    _add_seed(parser, "the choice of digits")
    _add_json(parser)


def _add_synth(commands):
    parser = _command(
        commands, "synth", _synth, "a board's bitstream, or the core in standard cells"
    )
    aim = parser.add_mutually_exclusive_group(required=True)
    aim.add_argument("--board", metavar="NAME", help=f"bitstream of: {', '.join(BOARDS)}")
    aim.add_argument(
        "--liberty", metavar="FILE", help="map the core to this library, .lib or .lib.gz"
    )
    _add_config(parser, action="append", default=[])
    parser.add_argument(
        "--json", metavar="FILE", help="all figures; of a board: record that its entry goes into"
    )
    parser.add_argument(
        "--folder", metavar="DIR", help="of what is made; default: build/BOARD, or build/asic"
    )
    board = parser.add_argument_group("with --board")
    board.add_argument(
        "--seeds", type=_seeds, metavar="N", help="to place and route with; default: 1"
    )
    board.add_argument(
        "--run",
        metavar="RUN.json",
        help="of `penstock compare --json`, for the record's cycles",
    )
    liberty = parser.add_argument_group("with --liberty, where --config may be given several times")
    liberty.add_argument(
        "--dont-use",
        metavar="PATTERN",
        action="append",
        help="cells to leave out, such as '*probe*'; may be given several times",
    )
    liberty.add_argument(
        "--clock-mhz", type=_megahertz, metavar="F", help="of the SDC; default: the longest path's"
    )
    liberty.add_argument("--markdown", metavar="FILE.md", help="write the tables into this file")


SYNTH_OPTIONS = {"board": ("seeds", "run"), "liberty": ("dont_use", "clock_mhz", "markdown")}
"""What goes with --board alone, with --liberty alone."""


def _seeds(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= MOST_SEEDS:
        raise argparse.ArgumentTypeError(f"must be an integer in 1..{MOST_SEEDS}, not {text!r}")
    return int(text)


def _megahertz(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1e5:
        raise argparse.ArgumentTypeError(f"must be a number of MHz above 0, not {text!r}")
    return value


def _baud(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {text!r}")
    return int(text)


def _add_run_options(parser: argparse.ArgumentParser):
    parser.add_argument("program", metavar="PROGRAM", help="program file of `penstock compile`")
    _add_config(parser)
    _add_design(parser)
    parser.add_argument("--images", type=int, metavar="N", help="default: 8 digits, or all of FILE")
    parser.add_argument("--input", metavar="FILE.npy", help="images (N, C, H, W), uint8 or int8")
    parser.add_argument("--gating", choices=("on", "off"))
    parser.add_argument("--wave", metavar="FILE", help="every signal's waves, .vcd or .fst")
    _add_seed(parser, "the choice of digits")
    _add_json(parser)


def _add_report(commands):
    parser = _command(commands, "report", _report, "draw the figures of a run as one HTML page")
    parser.add_argument(
        "run", metavar="RUN.json", help="of the --json of `penstock simulate` or `compare`"
    )
    parser.add_argument(
        "--synthesis",
        metavar="BOARDS.json",
        help="of `penstock synth --board`: adds the boards of the run's configuration",
    )
    parser.add_argument("-o", "--output", metavar="FILE.html", default="report.html")


def _add_bench(commands):
    parser = _command(commands, "bench", _bench, "measure what gating saves in cycles")
    parser.add_argument(
        "subject",
        choices=("gating", "sizes"),
        help="gating: single gated layers in the RTL; sizes: arrays of other sizes on the shipped "
        "network's masks, by the cycle model",
    )
    _add_config(parser, required=True)
    _add_seed(parser, "images, weights and decisions")
    _add_json(parser)


def _add_results(commands):
    parser = _command(
        commands, "results", _results, "accuracy against real cycles of trained networks"
    )
    parser.add_argument(
        "records", metavar="TRAINED.json", nargs="+", help="of `penstock train --json`"
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", required=True, help="CIFAR-10")
    parser.add_argument(
        "--dataset", metavar="TEXT", default="CIFAR-10", help="what the page calls the data"
    )
    _add_config(parser, default="ulx3s-85f")
    _add_seed(parser, "the choice of images for the RTL")
    parser.add_argument("--json", metavar="FILE", default="results.json")
    parser.add_argument(
        "--markdown", metavar="FILE.md", default="results.md", help="page, with its plot FILE.svg"
    )


def _add_demo(commands):
    parser = _command(
        commands, "demo", _demo, "the whole way: real digits on the generated hardware"
    )
    parser.add_argument("--images", type=int, metavar="N", default=8)
    parser.add_argument("--output", metavar="FOLDER", default="build/demo")
    _add_seed(parser, "the choice of digits")
    _add_config(parser, default="ulx3s-85f")


def _train(options) -> None:
    output = options.output or f"{options.model}.safetensors"
    state = options.state or f"{output}.training"
    check_writable(output, options.float, options.log, options.json, state)
    try:
        from penstock.gold import train
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise PenstockError(
            "train: needs PyTorch, which is not installed: pip install 'penstock[train]'"
        ) from None
    from penstock import display

    names = [field.name for field in dataclasses.fields(train.Training)]
    training = train.Training(**{name: getattr(options, name) for name in names})
    files = {"checkpoint": options.float, "log": options.log, "state": state}
    result = train.train(training, output, **files)
    facts = {
        "float accuracy": f"{result['float_accuracy']:.2%} of {result['images']:,} held-out images",
        "integer accuracy": f"{result['integer_accuracy']:.2%}",
        "MAC reduction": f"{result['mac_reduction']:.3f}x",
        "network": output,
    }
    display.console().print(display.fact_table("Trained and quantized", facts))
    made = {"command": shlex.join(["penstock", *sys.argv[1:]]), "network": Path(output).name}
    write_json(options.json, made | result)


def _compile(options) -> None:
    from penstock import display
    from penstock.compiler import compile_network, report
    from penstock.program import save_program

    config = load_config(options.config)
    check_writable(options.output)
    program = compile_network(_network(options), config)
    save_program(program, options.output)
    display.console().print(display.program_table(program, report(program)))
    print(f"{options.output}: {program.header['length']:,} words of 64 bits")


def _network(options) -> Network:
    """The network of `compile`: of a file, an ONNX model, or a shipped one by its name."""
    name = options.network
    if not name.endswith(".onnx"):
        if options.calibrate or options.input_scale is not None:
            raise PenstockError(
                f"network {name}: must be an ONNX model (.onnx) to be calibrated or take an "
                "input scale"
            )
        return load_network(SHIPPED.get(name, name))
    from penstock.gold.import_onnx import read_onnx
    from penstock.gold.quantize import calibrate
    from penstock.images import calibration_images

    images = calibration_images(options.calibrate) if options.calibrate else None
    network = read_onnx(name, images, input_scale=options.input_scale)
    if images is None:
        return calibrate(network, None)
    with progress(f"calibrating on {len(images):,} images"):
        return calibrate(network, images)


def _verilog(options) -> None:
    given = {"target": options.target, "axi_bits": options.axi_bits}
    config = dataclasses.replace(
        load_config(options.config),
        **{field: value for field, value in given.items() if value is not None},
    )
    output = Path(options.output)
    if output.suffix != ".v":
        raise PenstockError(f"{options.output}: must end in .v")
    from penstock import display
    from penstock.hw.integration import ACCELERATOR, CORE, generate, kit_files

    top = CORE if options.core else ACCELERATOR
    names = kit_files(output.stem, top)
    check_writable(*(output.parent / name for name in names))
    with progress("generating Verilog"):
        files = generate(config, output.stem, top)
    write_all(output.parent, files)
    display.console().print(display.fact_table(f"{config.name}, {config.hash:#010x}", names))


def _simulate(options) -> int:
    from penstock import display
    from penstock.report import GATED, SUFFIX, measure

    program, images, runs = _run(options, [GATED])
    console = display.console()
    if _stopped(program, runs):
        return DIFFER
    figures = measure(program, images, runs, core_alone=options.core)
    console.print(display.layer_table(figures))
    (gating,) = runs
    console.print(display.counter_table(figures[f"counters_{SUFFIX[gating]}"]))
    console.print(display.fact_table(display.subject(figures), display.figure_facts(figures)))
    write_json(options.json, figures)
    return 0


def _compare(options) -> int:
    from penstock import display
    from penstock.report import DENSE, GATED, compare_runs, comparison_figures, measure

    program, images, runs = _run(options, [GATED, DENSE])
    console = display.console()
    if _stopped(program, runs):
        return DIFFER
    comparisons = compare_runs(program, images, runs)
    figures = measure(program, images, runs, core_alone=options.core)
    figures |= comparison_figures(comparisons)
    console.print(display.comparison_table(comparisons))
    console.print(display.fact_table(display.subject(figures), display.figure_facts(figures)))
    display.show_verdict(console, program, comparisons, figures)
    write_json(options.json, figures)
    return DIFFER if figures["mismatches"] else 0


def _run(options, ways: list[bool]) -> tuple[Program, np.ndarray, dict[bool, Run]]:
    """(program, images, runs by whether gating is on) of a command's options.

    ``ways`` is whether the gates are on in each run, unless ``--gating`` or the configuration says.
    """
    from penstock.images import choose_images
    from penstock.program import load_program

    config = load_config(options.config) if options.config else None
    program = load_program(options.program, config)
    if options.gating == "on":
        program.config.require_gating("--gating on")
    if options.gating or not program.config.gating:
        ways = [options.gating == "on"]
    if options.wave and len(ways) > 1:
        raise PenstockError("--wave: needs --gating on or off, one run to record")
    if options.axi_bits is not None:
        config = dataclasses.replace(program.config, axi_bits=options.axi_bits)
        program = dataclasses.replace(program, config=config)
    images = choose_images(program.network, options.input, options.images, options.seed)
    wave = Path(options.wave) if options.wave else None
    from penstock.simulation import run_program, save_path

    check_writable(options.json, wave, wave and save_path(wave))
    runs = run_program(program, images, ways, seed=options.seed, wave=wave, core_alone=options.core)
    return program, images, runs


def _run_board(options) -> None:
    import numpy as np

    from penstock import display
    from penstock.images import choose_images
    from penstock.memory_map import MemoryMap, check_images
    from penstock.program import load_program

    program = load_program(options.program)
    images = choose_images(program.network, options.input, options.images, options.seed)
    check_images(program.network, images)
    if options.output and not isinstance(program.network.layers[-1], Classifier):
        raise PenstockError(f"--output: network {program.network.name} must end in a classifier")
    check_writable(options.json, options.output)
    try:
        from penstock.boards.host import DEFAULT_BAUD, Board, board_figures
    except ModuleNotFoundError as error:
        if error.name != "serial":
            raise
        raise PenstockError(
            "run: needs pyserial, which is not installed: pip install 'penstock[boards]'"
        ) from None
    layout = MemoryMap(program, len(images))
    gating = program.config.gating and not options.no_gating
    with Board(options.port, options.baud or DEFAULT_BAUD) as board:
        with progress_bar(f"loading {program.network.name}", layout.first_input) as advance:
            board.load(program, advance)
        text = f"running {len(images)} images, gating {'on' if gating else 'off'}"
        with progress_bar(text, layout.first_output - layout.first_input) as advance:
            run = board.run(images, gating, advance)
    figures = board_figures(program, run, gating)
    console = display.console()
    console.print(display.counter_table(run.counters))
    console.print(display.fact_table(*display.board_facts(figures)))
    if options.output:
        content = io.BytesIO()
        np.savez(content, outputs=run.outputs)
        write_whole(options.output, content.getvalue())
    write_json(options.json, figures)


def _synth(options) -> int | None:
    aim, other = ("board", "liberty") if options.board else ("liberty", "board")
    for name in SYNTH_OPTIONS[other]:
        if getattr(options, name) is not None:
            raise PenstockError(f"--{name.replace('_', '-')}: goes with --{other}, not --{aim}")
    configs = [load_config(name) for name in options.config]
    if aim == "board":
        return _synth_board(options, configs)
    return _synth_liberty(options, configs)


def _synth_board(options, configs: Sequence[Config]) -> int:
    from penstock.boards.synth_command import synth_board

    if len(configs) > 1:
        raise PenstockError(f"--config: a board takes one, not {len(configs)}")
    return synth_board(
        options.board,
        config=configs[0] if configs else None,
        seeds=options.seeds or 1,
        run=options.run,
        record=options.json,
        folder=options.folder,
    )


def _synth_liberty(options, configs: Sequence[Config]) -> None:
    from penstock.boards.asic_command import synth_liberty

    if not configs:
        raise PenstockError("--config: must be given with --liberty")
    synth_liberty(
        options.liberty,
        configs,
        dont_use=options.dont_use or [],
        megahertz=options.clock_mhz,
        json=options.json,
        markdown=options.markdown,
        folder=options.folder or "build/asic",
    )


def _report(options) -> None:
    from penstock.boards_record import boards_of, load_boards
    from penstock.record import load_run
    from penstock.report_page import page

    check_writable(options.output)
    run, boards = load_run(options.run), []
    if options.synthesis is not None:
        boards = boards_of(load_boards(options.synthesis), run)
    write_whole(options.output, page(run, boards).encode())


def _stopped(program: Program, runs: dict[bool, Run]) -> bool:
    """Whether a run ended with an error, which is then printed."""
    from penstock.report import failures

    lines = failures(program, runs)
    for line in lines:
        print(f"penstock: {line}", file=sys.stderr)
    return bool(lines)


def _bench(options) -> int:
    from penstock import bench, display

    config = load_config(options.config)
    config.require_gating(f"bench {options.subject}")
    check_writable(options.json)
    if options.subject == "sizes":
        from penstock.images import held_out_digits

        images, _ = held_out_digits(8, options.seed)
        result = bench.sizes(config, load_network(SHIPPED[DIGITS]), images)
        display.console().print(display.sizes_table(result))
        write_json(options.json, result)
        return 0
    with progress(f"measuring gated layers on {config.name}"):
        result = bench.gating(config, options.seed)
    display.console().print(display.bench_table(result))
    write_json(options.json, result)
    return DIFFER if any(row["mismatches"] for row in result["rows"]) else 0


def _results(options) -> int:
    from penstock import results, results_page
    from penstock.gold.cifar10 import load_cifar10

    config = load_config(options.config)
    config.require_gating("results")
    page = Path(options.markdown)
    plot = page.with_suffix(".svg")
    check_writable(options.json, page, plot)
    images, labels = load_cifar10(options.data, "test")
    figures = results.results(
        options.records,
        images,
        labels,
        config,
        dataset=options.dataset,
        seed=options.seed,
    )
    write_json(options.json, figures)
    write_whole(plot, results_page.figure(figures))
    write_whole(page, results_page.page(figures, plot.name).encode())
    return DIFFER if any(each.get("mismatches") for each in figures["networks"]) else 0


def _demo(options) -> int:
    from penstock.demo import run_demo

    config = load_config(options.config)
    config.require_gating("demo")
    figures = run_demo(
        load_network(SHIPPED[DIGITS]),
        config,
        count=options.images,
        output=Path(options.output),
        seed=options.seed,
    )
    return DIFFER if figures["mismatches"] else 0
