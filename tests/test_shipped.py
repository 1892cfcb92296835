"""The ResNets that come with Penstock: their records, and what docs/results.json says of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_images

from penstock.compiler import compile_network
from penstock.config import preset
from penstock.gold.runner import run
from penstock.network import SHIPPED_FOLDER
from penstock.results import IMAGES, load_record
from penstock.results_page import page

DOCS = Path(__file__).parents[1] / "docs"
RECORDS = sorted(SHIPPED_FOLDER.glob("*.json"))
RESULTS = json.loads((DOCS / "results.json").read_text())
MEASURED = {network["name"]: network for network in RESULTS["networks"]}


def test_page_is_what_was_measured():
    assert (DOCS / "results.md").read_text() == page(RESULTS, "results.svg")
    assert (DOCS / "results.svg").is_file()


def test_readme_has_what_was_measured():
    readme = (DOCS.parent / "README.md").read_text()
    for path in RECORDS:
        figures = MEASURED[path.stem]
        row = f"{figures['accuracy_int']:.2%}".replace("%", " %")
        if figures["target"] is None:
            row = f"| `{path.stem}`, dense | {row} | | {figures['cycles_dense']:,.0f} | | |"
        else:
            row = (
                f"| `{path.stem}` | {row} | {figures['mac_reduction_images']:.2f}x "
                f"| {figures['cycles_gated']:,.0f} | {figures['speedup']:.2f}x "
                f"| {figures['efficiency']:.3f} |"
            )
        assert row in readme


def test_every_record_was_measured_and_nothing_else_is_called_shipped():
    assert len(RECORDS) >= 3
    assert {path.stem for path in RECORDS} == {
        name for name, network in MEASURED.items() if network["shipped"]
    }


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_shipped_network(path):
    """It fits the board it was measured for, with its weights on chip, and is what was measured."""
    record, network = load_record(path)
    figures = MEASURED[path.stem]
    assert record["command"] == figures["command"]
    assert record["float_accuracy"] == figures["accuracy_float"]
    assert record["integer_accuracy"] == figures["accuracy_int"]
    assert record["mac_reduction"] == figures["mac_reduction"]
    program = compile_network(network, preset(RESULTS["config"]))
    assert program.config.weights == "resident"
    images = random_images(np.random.default_rng(0), network.input, 1)
    assert run(network, images).macs_dense == figures["macs_dense"]


@pytest.mark.parametrize("name", [path.stem for path in RECORDS])
def test_what_was_measured_is_sound(name):
    figures = MEASURED[name]
    assert abs(figures["accuracy_int"] - figures["accuracy_float"]) <= 0.005
    assert RESULTS["test_images"] == 10_000
    assert figures["images"] >= IMAGES
    assert figures["mismatches"] == 0 and figures["compared"] > 1_000_000
    assert figures["utilization_dense"] >= 0.95
    for layer in figures["layers"]:
        assert abs(layer["model_error_gated"]) <= 0.03, layer["names"]
        assert abs(layer["model_error_dense"]) <= 0.03, layer["names"]
