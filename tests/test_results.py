"""The page of results: every figure comes from its file, and files are checked."""

import json
import re

import numpy as np
import pytest
from axi_cases import small_case
from random_networks import random_images

from penstock import results as module
from penstock.config import preset
from penstock.errors import PenstockError
from penstock.gold.runner import run
from penstock.network import save_network
from penstock.results import load_record, results
from penstock.results_page import figure, page

CONFIG = preset("tiny")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """(files of two trainings, one of them shipped; images; labels)."""
    rng = np.random.default_rng(0)
    program, _ = small_case(CONFIG, seed=4)
    images = random_images(rng, program.network.input, 20)
    labels = run(program.network, images).classes
    labels[:5] += 1  # a quarter is wrong
    paths = []
    for name, target in (("shipped", 0.7), ("other", None)):
        folder = tmp_path_factory.mktemp(name)
        save_network(program.network, folder / "n.safetensors")
        record = {
            "command": f"penstock train {name}",
            "network": "n.safetensors",
            "versions": {"penstock": "0.1.0"},
            "threshold_target": target,
            "float_accuracy": 0.8,
        }
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(json.dumps(record))
    return paths, images, labels


@pytest.fixture(scope="module")
def measured(records):
    paths, images, labels = records
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHIPPED_FOLDER", paths[0].parent)
        return results(paths, images, labels, CONFIG, dataset="Noise")


def test_figures(records, measured):
    shipped, other = measured["networks"]
    network = load_record(records[0][0])[1]
    golden = run(network, records[1])
    for each in (shipped, other):
        assert each["accuracy_int"] == 0.75
        assert each["accuracy_float"] == 0.8
        assert each["mac_reduction"] == golden.mac_reduction
    assert (shipped["shipped"], other["shipped"]) == (True, False)
    assert "cycles_gated" not in other
    assert shipped["mismatches"] == 0 and shipped["compared"] > 1000
    assert shipped["images"] == 8
    assert shipped["speedup"] == shipped["cycles_dense"] / shipped["cycles_gated"]
    assert shipped["efficiency_min"] <= shipped["efficiency"]
    assert shipped["bus_bytes_streamed"] > shipped["bus_bytes"]
    assert len(shipped["layers"]) > 2


def test_page_and_plot(measured):
    text = page(measured, "plot.svg")
    assert "# ResNet-20 on Noise" in text and "![" in text and "(plot.svg)" in text
    assert re.search(r"\| shipped \| 0\.7 \| 80\.00% \| 75\.00% \|", text)
    assert "| other (not shipped) |" in text
    assert "    penstock train shipped\n    penstock train other\n" in text
    assert figure(measured).startswith(b"<?xml")
    assert figure(measured) == figure(measured)


def test_records_that_are_refused(tmp_path):
    path = tmp_path / "record.json"
    for content in (None, "nonsense", "[]", "{}"):
        if content is not None:
            path.write_text(content)
        with pytest.raises(PenstockError) as caught:
            load_record(path)
        assert str(caught.value).startswith(f"{path}: must be a ")
