"""The code of the README and of docs/ on networks and numbers runs as it stands there."""

import json
import re
import shlex
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import import_cases as cases  # noqa: E402

from penstock import cli  # noqa: E402
from penstock.documentation import ROOT  # noqa: E402
from penstock.gold import runner as gold  # noqa: E402
from penstock.gold.digits import load_digits_images  # noqa: E402
from penstock.network import load_network  # noqa: E402
from penstock.program import load_program  # noqa: E402

BLOCK = re.compile(r"^```(python|sh|json)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, code) of a page's fenced blocks."""
    return BLOCK.findall((ROOT / page).read_text())


def run_page(page: str) -> dict:
    """Run all code of a page, one block after the other; returns its variables.

    An object of JSON becomes the file of its name. What takes seconds and is tested elsewhere,
    Verilog and waves, is left out; test_documentation checks its options.
    """
    images, labels = load_digits_images("train")
    x = torch.from_numpy(images[:64]).float() / 255
    variables = {
        "model": cases.made(lambda: cases.ResNet(1)).train(),
        "images": images[:64],
        "batches": [(x, torch.from_numpy(labels[:64]))] * 3,
    }
    for language, code in blocks(page):
        if language == "python":
            exec(compile(code, page, "exec"), variables)
            variables["model"] = dense_again(variables["model"], code)
        elif language == "json":
            Path(f"{json.loads(code)['name']}.json").write_text(code)
        else:
            for line in code.splitlines():
                run_command(*shlex.split(line))
    return variables


def run_command(program: str, *arguments: str):
    assert program in ("penstock", "mkdir")
    if program == "penstock" and arguments[0] != "verilog" and "--wave" not in arguments:
        assert cli.main(arguments) == 0


def dense_again(model, code: str):
    """The chapters behind that of gates begin with a dense network again."""
    return cases.made(lambda: cases.ResNet(1)) if "gate(" in code else model


def test_the_page_of_imports(tmp_path, monkeypatch, one_thread):
    monkeypatch.chdir(tmp_path)
    run_page("docs/import.md")
    written = {path.name for path in tmp_path.iterdir()}
    assert {"mine.safetensors", "gated.safetensors", "dense.bin", "int8.bin"} <= written
    gated = {layer.name: layer for layer in load_network("gated.safetensors").layers}
    assert gated["layer2.0.conv2"].groups == 4
    dense = load_network("mine.safetensors")
    assert all(getattr(layer, "groups", 1) == 1 for layer in dense.layers)
    float_network = load_program("dense.bin").network
    assert len(float_network.layers) == len(dense.layers)
    assert load_program("int8.bin").network.input.signed


def test_the_readme(tmp_path, monkeypatch, one_thread):
    monkeypatch.chdir(tmp_path)
    code = [code for language, code in blocks("README.md") if language == "python"]
    assert len(code) == 1 and "gate(model" in code[0]
    run_page("README.md")
    layers = load_network("gated.safetensors").layers
    assert sum(getattr(layer, "groups", 1) == 4 for layer in layers) == 6


def test_the_first_steps(tmp_path, monkeypatch, one_thread):
    monkeypatch.chdir(tmp_path)
    run_page("docs/first_steps.md")
    program = load_program("mine.bin")
    assert program.config.name == "mine"
    gated = [each.name for each in program.network.layers if getattr(each, "groups", 1) == 4]
    assert gated == ["conv1.0", "conv2.0", "conv3.0"]
    images, labels = load_digits_images("test")
    assert (gold.run(program.network, images).classes == labels).mean() > 0.8
    run = json.loads(Path("run.json").read_text())
    assert (run["mismatches"], run["images"]) == (0, 4) and run["speedup"] > 1
    assert "Bit-exact" in Path("report.html").read_text()


def test_the_numerics():
    run_page("docs/numerics.md")
