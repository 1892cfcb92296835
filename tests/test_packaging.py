"""The packages and their data as pyproject.toml lists them by hand."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import penstock

ROOT = Path(penstock.__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
FOLDERS = ("penstock", "gold", "hw", "sim", "boards")


def test_every_package_is_listed():
    found = {path.parent for name in FOLDERS for path in (ROOT / name).rglob("__init__.py")}
    listed = {ROOT / SETUPTOOLS["package-dir"][name] for name in SETUPTOOLS["packages"]}
    assert found == listed
    assert all(
        name == "penstock" or name.startswith("penstock.") for name in SETUPTOOLS["packages"]
    )


def test_every_other_file_is_package_data():
    folders = {ROOT / folder for folder in SETUPTOOLS["package-dir"].values()}
    for name in SETUPTOOLS["packages"]:
        folder = ROOT / SETUPTOOLS["package-dir"][name]
        data = {
            path
            for path in folder.rglob("*")
            if path.is_file()
            and path.suffix not in (".py", ".pyc")
            and next(parent for parent in path.parents if parent in folders) == folder
        }
        patterns = SETUPTOOLS["package-data"].get(name, [])
        assert data == {path for pattern in patterns for path in folder.glob(pattern)}


@pytest.mark.parametrize("name", ["gold", "hw", "sim", "boards"])
def test_sub_packages_are_nowhere_else(name, tmp_path):
    def run(code: str):
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert run(f"import penstock.{name}").returncode == 0
    alone = run(f"import {name}")
    assert f"ModuleNotFoundError: No module named '{name}'" in alone.stderr


def test_version_is_one():
    assert PROJECT["project"]["version"] == penstock.__version__


def test_runtime_needs_no_torch():
    names = PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["test"]
    assert not [name for name in names if name.startswith("torch")]
