"""The main job: real held-out digits on the generated hardware, gated and dense, bit by bit."""

from pathlib import Path

import numpy as np
from rich.console import Console

from penstock import display
from penstock.compiler import compile_network
from penstock.config import Config
from penstock.errors import PenstockError
from penstock.gold import runner as gold
from penstock.gold.digits import load_digits_images
from penstock.hw.accelerator import Accelerator
from penstock.hw.verilog import TOP, verilog_file
from penstock.images import held_out_digits
from penstock.network import Network, write_whole
from penstock.output import progress, write_json
from penstock.program import save_program
from penstock.report import (
    DENSE,
    GATED,
    check_runs,
    compare_runs,
    comparison_figures,
    densities,
    measure,
)
from penstock.report_page import page
from penstock.simulation import build_simulator, run_program


def run_demo(network: Network, config: Config, *, count: int, output: Path, seed: int = 0) -> dict:
    """Generate, compile, simulate and compare; print a report; write files into ``output``.

    ``count`` held-out digits are drawn by the seed. Files: penstock.v, program.bin, report.json,
    and report.html, its page. Returns what is in report.json. Raises PenstockError where the
    network does not fit, files cannot be written; SimulationError where the core stops with an
    error.
    """
    images, labels = held_out_digits(count, seed)
    program = compile_network(network, config)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PenstockError(f"{output}: must be a writable folder ({error.strerror})") from None
    save_program(program, output / "program.bin")
    with progress(f"generating the Verilog of {config.name}"):
        verilog = verilog_file(config, Accelerator(config), TOP)
    write_whole(output / "penstock.v", verilog.encode())
    build = build_simulator(program)
    runs = run_program(program, images, [GATED, DENSE], seed=seed, build=build)
    check_runs(program, runs)
    comparisons = compare_runs(program, images, runs)
    with progress("running the golden model on all held-out images"):
        accuracy = _accuracy(network, runs[GATED].logits, labels)
    figures = measure(program, images, runs) | comparison_figures(comparisons) | accuracy
    figures |= {"seed": seed, "build_cached": build.cached, "build_seconds": build.seconds}
    write_json(output / "report.json", figures)
    write_whole(output / "report.html", page(figures).encode())
    _print(display.console(), program, comparisons, figures, output)
    return figures


def _accuracy(network: Network, logits: np.ndarray, labels: np.ndarray) -> dict:
    """Accuracy of the simulated images by the hardware's output, of all by the golden model's."""
    all_images, all_labels = load_digits_images("test")
    golden = gold.run(network, all_images)
    density = densities(golden)
    return {
        "accuracy": float((logits.argmax(axis=1) == labels).mean()),
        "held_out_images": len(all_images),
        "held_out_accuracy": float((golden.classes == all_labels).mean()),
        "held_out_mac_reduction": golden.mac_reduction,
        "held_out_density_range": [float(density.min()), float(density.max())],
    }


def _print(console: Console, program, comparisons, figures: dict, output: Path):
    low, high = figures["density_range"]
    least, most = figures["held_out_density_range"]
    config, count = program.config, figures["held_out_images"]
    found = "found in the cache" if figures["build_cached"] else "built"
    facts = {
        "array": f"{config.rows} x {config.lanes} = {config.multipliers} multipliers",
        f"accuracy, all {count} held-out images": f"{figures['held_out_accuracy']:.1%}, integers",
        "accuracy, simulated images": f"{figures['accuracy']:.1%}, from the hardware's output",
        f"MAC reduction, all {count}": f"{figures['held_out_mac_reduction']:.3f}x",
        "open gates, simulated images": f"{low:.3f} to {high:.3f} of an image's gated outputs",
        f"open gates, all {count}": f"{least:.3f} to {most:.3f}",
        **display.figure_facts(figures),
        "simulator": f"{found} in {figures['build_seconds']:.0f} s",
    }
    console.print(display.layer_table(figures))
    console.print(display.comparison_table(comparisons))
    subject = display.subject(figures, "held-out images")
    console.print(display.fact_table(subject, facts))
    console.print()
    display.show_verdict(console, program, comparisons, figures)
    print(
        f"{output / 'report.html'}: these figures drawn; also report.json, penstock.v, program.bin"
    )
