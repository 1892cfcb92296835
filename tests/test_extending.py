"""The patches of docs/extending.md apply, and what they add computes in the RTL what gold/ does."""

import os
import re
import shutil
import subprocess
import sys

from penstock.documentation import ROOT
from penstock.sim.runner import build_root

PACKAGES = ("gold", "hw", "sim", "boards")


def patched(folder):
    """A copy of the packages with the page's patches; returns the page's code."""
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors", *PACKAGES)
    shutil.copytree(ROOT / "penstock", folder / "penstock", ignore=ignored)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    page = (ROOT / "docs/extending.md").read_text()
    code = re.search(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1]
    patches = re.findall(r"^```diff\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(patches) == 3
    for patch in patches:
        subprocess.run(["git", "apply", "-"], cwd=folder, input=patch, text=True, check=True)
    for package in PACKAGES:  # as the installation lays them out
        (folder / package).rename(folder / "penstock" / package)
    return code


def test_the_layer_of_the_page_is_bit_exact(tmp_path):
    code = patched(tmp_path)
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "PENSTOCK_BUILD": str(build_root().parent),
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.rsplit(" ", 2) for line in done.stdout.splitlines()]
    assert [name for name, _, _ in lines].count("norm") == 2
    assert all(mismatches == "0" for _, _, mismatches in lines)
    assert sum(int(elements) for name, elements, _ in lines if name == "norm") == 2 * 2 * 20 * 35
