"""The page of a run: it parses, holds what the JSON holds, needs nothing else, refuses the rest."""

import json
import re

import numpy as np
import pytest
from random_networks import random_images, resnet20
from report_cases import Page, measured, percent

from penstock import cli
from penstock.errors import PenstockError
from penstock.gold import runner as gold
from penstock.record import RUN_FORMAT, channel_densities, load_run, shown_images, spent, unpacked
from penstock.report_page import page
from penstock.report_page.charts import bar, strip
from penstock.report_page.pictures import data_uri, shades


@pytest.fixture
def run() -> dict:
    return json.loads(measured())


# What the page holds.


def test_the_page_holds_the_figures(run):
    text = Page(page(run)).text
    for shown in (
        "small on tiny",
        "36 multipliers, AXI of 64 bits, 5 images",
        "Bit-exact: 123,456 values compared with the golden model, 0 mismatches",
        "2.000\N{MULTIPLICATION SIGN}",
        f"{run['mac_reduction']:.3f}\N{MULTIPLICATION SIGN}",
        f"{run['efficiency']:.3f}",
        f"{run['utilization']:.3f}",
        "4,000.0 → 2,000.0 cycles per image",
        "80.0%",
        "images drawn by seed 7",
        "image 3: class 3",
    ):
        assert shown in text
    for layer in run["layers"]:
        assert "+".join(layer["names"]) in text
        assert f"{layer['cycles_gated']:,.0f} ideal {layer['macs_executed'] / 36:,.0f}" in text


@pytest.mark.parametrize(
    "field",
    [
        *("config", "network", "images", "multipliers", "macs_dense", "macs_executed", "seed"),
        *("mac_reduction", "speedup", "efficiency", "utilization", "utilization_dense", "accuracy"),
        *("cycles_gated", "cycles_dense", "bytes_read_gated", "bytes_written_dense", "compared"),
        *("mismatches", "simulation_speed", "axi_bits"),
    ],
)
def test_another_figure_gives_another_page(run, field):
    before = page(run)
    run[field] = f"{run[field]}x" if isinstance(run[field], str) else run[field] + 1
    assert page(run) != before


def test_another_figure_within_gives_another_page(run):
    before = page(run)
    gated = next(layer for layer in run["layers"] if layer["density"] is not None)
    for change in (
        lambda: gated["channel_density"].__setitem__(0, 0.9),
        lambda: gated.__setitem__("cycles_dense", 1.0),
        lambda: run["counters_gated"].__setitem__("STALL_WRITE", 1),
        lambda: run["shown"][0].__setitem__("class", 9),
        lambda: run["shown"][0]["pixels"].__setitem__("base64", "AAAA" * 85 + "AA=="),
    ):
        change()
        after = page(run)
        assert after != before
        before = after


def test_bars_of_the_cycles_add_up(run):
    """Steps and stalls are all cycles, in the bars as in the counters."""
    for way in ("gated", "dense"):
        assert sum(spent(run[f"counters_{way}"]).values()) == run[f"counters_{way}"]["CYCLES"]
    assert spent(run["counters_gated"])["START"] == 1
    text = page(run).split("Where the cycles went")[1]
    bars = re.findall(r'<svg class="bar".*?</svg>', text)[:2]
    for drawn, share in zip(bars, (100, 50), strict=True):  # gating off, then on
        parts = Page(drawn).of("rect")
        assert sum(percent(part["width"]) for part in parts) == pytest.approx(share, abs=0.01)
        starts = [percent(part["x"]) for part in parts]
        ends = [percent(part["x"]) + percent(part["width"]) for part in parts]
        assert starts[0] == 0 and starts[1:] == pytest.approx(ends[:-1], abs=0.01)


def test_a_bar_for_each_layer_and_way(run):
    section = page(run).split("Cycles by layer</h2>")[1].split("</section>")[0]
    parsed = Page(section)
    longest = max(layer["cycles_dense"] for layer in run["layers"])
    widths = [percent(part["width"]) for part in parsed.of("rect", "dense")]
    assert widths == pytest.approx(
        [100 * layer["cycles_dense"] / longest for layer in run["layers"]], abs=0.01
    )
    marks = [percent(mark["x1"]) for mark in parsed.of("line", "mark")]
    ideals = [layer[f"macs_{way}"] / 36 for layer in run["layers"] for way in ("dense", "executed")]
    assert marks == pytest.approx([100 * ideal / longest for ideal in ideals], abs=0.01)


def test_a_cell_for_each_channel(run):
    (strip_text,) = re.findall(r'<svg class="strip".*?</svg>', page(run))
    assert len(Page(strip_text).of("rect")) == 8


def test_nothing_from_outside(run):
    text = page(run)
    parsed = Page(text)
    names = {name for _, attributes in parsed.elements for name in attributes}
    assert not names & {"href", "srcset", "xlink:href", "onload", "onclick"}
    assert {tag for tag, _ in parsed.elements}.isdisjoint({"script", "link", "iframe", "object"})
    assert all(image["src"].startswith("data:image/png;base64,") for image in parsed.of("img"))
    assert "http" not in text and "url(" not in text and "@import" not in text


def test_charts_and_pictures_have_labels(run):
    parsed = Page(page(run))
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in parsed.of("svg"))
    assert len(parsed.of("img")) == 4 * 2  # four images, each with its one gated layer
    assert all(image["alt"] for image in parsed.of("img"))


def test_texts_are_escaped(run):
    nasty = '<script>alert("x")</script>&amp;'
    run["network"] = run["config"] = nasty
    for layer in run["layers"]:
        layer["names"] = [nasty]
    run["tensors"][0]["name"] = nasty
    run["shown"][0]["maps"] = {nasty: run["shown"][0]["maps"].popitem()[1]}
    text = page(run)
    assert "<script" not in text
    assert nasty in Page(text).text


# Runs of other kinds.


def test_mismatches_are_loud(run):
    run["mismatches"] = 12
    run["tensors"][2]["mismatches_dense"] = 12
    text = page(run)
    assert 'class="verdict bad"' in text and "Bit-exact" not in text
    parsed = Page(text)
    assert "DIFFERS: 12 mismatches in 123,456 values compared" in parsed.text
    assert "with the golden model, in gated." in parsed.text and "12 differ" in parsed.text
    assert len(parsed.of("details")) - sum("open" not in each for each in parsed.of("details")) == 1


def test_a_run_without_comparison_says_so(run):
    for field in ("mismatches", "compared", "tensors"):
        del run[field]
    text = Page(page(run)).text
    assert "Not compared with the golden model" in text and "Bit-exact" not in text


@pytest.mark.parametrize("way,other", [("gated", "dense"), ("dense", "gated")])
def test_one_way_alone(run, tmp_path, way, other):
    for field in [name for name in run if name.endswith(f"_{other}") and name != "macs_dense"]:
        del run[field]
    for field in ("speedup", "efficiency", "efficiency_range"):
        del run[field]
    run.pop("utilization" if way == "dense" else "utilization_dense", None)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run))
    text = Page(page(load_run(path))).text
    tiles = text.split("What these figures mean")[0]
    assert "Speed-up" not in tiles
    assert ("MAC reduction" in tiles) == (way == "gated")
    assert f"{run[f'cycles_{way}']:,.1f} gating {'on' if way == 'gated' else 'off'}" in text


def test_a_network_without_gates_and_pictures(run):
    for layer in run["layers"]:
        layer["density"] = None
    for shown in run["shown"]:
        shown.update(maps={}, pixels=None)
    text = Page(page(run)).text
    assert "Open gates" not in text and "Where gates opened" not in text


# What goes into the JSON.


def test_shown_images_are_the_gates_of_the_golden_model():
    rng = np.random.default_rng(1)
    network = resnet20(rng)
    images = random_images(rng, network.input, 5)
    golden = gold.run(network, images)
    shown = json.loads(json.dumps(shown_images(golden, golden.classes)))
    assert len(shown) == 4
    for index, one in enumerate(shown):
        if images.dtype == np.uint8:
            np.testing.assert_array_equal(unpacked(one["pixels"]), images[index])
        assert one["class"] == golden.classes[index]
        assert one["maps"].keys() == golden.decisions.keys()
        for name, decisions in golden.decisions.items():
            share = decisions[index].mean(axis=0)
            assert np.abs(unpacked(one["maps"][name]) / 255 - share).max() <= 0.5 / 255 + 1e-9
    for decisions in golden.decisions.values():
        densities = channel_densities(decisions)
        assert np.mean(densities) == pytest.approx(decisions.mean(), abs=1e-4)


def test_signed_and_many_channels_show_no_picture(monkeypatch):
    rng = np.random.default_rng(1)
    for dtype, channels in ((np.int8, 1), (np.uint8, 2)):
        tensors = {"input": rng.integers(0, 9, (2, channels, 4, 4)).astype(dtype)}
        golden = gold.Result(
            tensors=tensors, decisions={}, layer_macs_dense={}, layer_macs_executed={}
        )
        assert [one["pixels"] for one in shown_images(golden, None)] == [None, None]


# Refusals.


@pytest.mark.parametrize(
    "change,message",
    [
        (lambda run: run.update(format="penstock run 2"), "not 'penstock run 2'"),
        (lambda run: run.pop("format"), f"must be the JSON of a run, its format {RUN_FORMAT!r}"),
        (lambda run: run.pop("layers"), "layers: must be there, is missing"),
        (lambda run: run.update(images="8"), 'images: must be an integer, not "8"'),
        (lambda run: run.update(images=0), "images: must be more than 0, not 0"),
        (lambda run: run.update(multipliers=0), "multipliers: must be more than 0, not 0"),
        (lambda run: run.update(cycles_dense=0.0), "cycles_dense: must be more than 0, not 0.0"),
        (lambda run: run.pop("speedup"), "speedup: must be there, is missing"),
        (lambda run: run.pop("utilization_dense"), "utilization_dense: must be there, is missing"),
        (lambda run: run.pop("compared"), "compared: must be there, is missing"),
        (lambda run: run.pop("axi_bits"), "axi_bits: must be there, is missing"),
        (lambda run: run.update(accuracy=True), "accuracy: must be a number, not true"),
        (lambda run: run.update(efficiency_range=[1]), "efficiency_range: must be two numbers"),
        (lambda run: run["layers"].append(3), "layers[3]: must be an object, not 3"),
        (lambda run: run["layers"][0].pop("model_error_dense"), "layers[0].model_error_dense"),
        (lambda run: run["counters_gated"].pop("STALL_POOL"), "counters_gated.STALL_POOL"),
        (lambda run: run["counters_gated"].update(BASE_STEPS=9000), "counters_gated: must add up"),
        (lambda run: run["shown"][0]["pixels"].update(base64="AAAA"), "shown[0].pixels: its bytes"),
        (lambda run: run["shown"][0]["pixels"].update(shape=[256]), "must have 3 dimensions"),
        (lambda run: run["shown"][0]["pixels"].update(shape=[4, 8, 8]), "1 or 3 channels, not 4"),
        (lambda run: [run.pop(f"cycles_{way}") for way in ("gated", "dense")], "neither came"),
    ],
)
def test_refused(run, change, message, tmp_path, capsys):
    change(run)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run))
    with pytest.raises(PenstockError, match=re.escape(message)):
        load_run(path)
    output = tmp_path / "page.html"
    assert cli.main(["report", str(path), "-o", str(output)]) == cli.BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"penstock: error: {path}: ")
    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"format": NaN}', "\udcff"])
def test_other_files_are_refused(content, tmp_path, capsys):
    path = tmp_path / "run.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    assert cli.main(["report", str(path), "-o", str(tmp_path / "page.html")]) == cli.BAD_INPUT
    assert capsys.readouterr().err.startswith(f"penstock: error: {path}: must be ")
    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]


def test_a_missing_file_is_refused(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path / "no"), "-o", str(tmp_path / "x")]) == cli.BAD_INPUT
    assert "no: must be a readable file" in capsys.readouterr().err


def test_the_command_writes_the_page(run, tmp_path):
    path, output = tmp_path / "run.json", tmp_path / "page.html"
    path.write_text(json.dumps(run))
    assert cli.main(["report", str(path), "-o", str(output)]) == 0
    assert output.read_text() == page(run)


# Drawing.


def test_bar_leaves_out_what_is_nothing():
    drawn = Page(bar([("base", 0.25, "a"), ("none", 0.0, "b"), ("drain", 0.5, "<c>")], label="d"))
    assert [part["class"] for part in drawn.of("rect")] == ["base", "drain"]
    assert [part["x"] for part in drawn.of("rect")] == ["0.000%", "25.000%"]
    assert "<c>" in drawn.text


def test_strip_colours_by_its_scale():
    cells = Page(strip([0.0, 0.5], 0.5, label="x")).of("rect")
    ends = [f"#{bytes(colour).hex()}" for colour in shades(np.array([0.0, 1.0]))]
    assert [cell["fill"] for cell in cells] == ends


def test_pictures_are_png(tmp_path):
    import base64
    import zlib

    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    for array, kind in ((pixels, 2), (pixels[..., 0], 0)):
        content = base64.b64decode(data_uri(array).split(",")[1])
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert content[16:26] == bytes([0, 0, 0, 3, 0, 0, 0, 2, 8, kind])
        length = int.from_bytes(content[33:37], "big")
        rows = np.frombuffer(zlib.decompress(content[41 : 41 + length]), np.uint8).reshape(2, -1)
        np.testing.assert_array_equal(rows[:, 1:], array.reshape(2, -1))
        assert not rows[:, 0].any()
