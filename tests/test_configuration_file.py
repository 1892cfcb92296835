"""What `--config` takes besides the names of presets."""

import dataclasses
import json

import pytest

from penstock.config import PRESETS, Config, preset
from penstock.configuration_file import load_config
from penstock.errors import PenstockError


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Write what becomes ``c.json`` in the current folder."""
    monkeypatch.chdir(tmp_path)
    return lambda content: (tmp_path / "c.json").write_text(
        content if isinstance(content, str) else json.dumps(content)
    )


@pytest.mark.parametrize("name", PRESETS)
def test_presets_by_name(name):
    assert load_config(name) is preset(name)


@pytest.mark.parametrize("name", PRESETS)
def test_all_fields(name, file):
    file(dataclasses.asdict(preset(name)))
    assert load_config("c.json") == preset(name)


def test_other_fields_have_their_defaults(file):
    file({"rows": 2, "name": "my-own_2.x", "axi_bits": 128})
    assert load_config("c.json") == Config(rows=2, name="my-own_2.x", axi_bits=128)
    file({"gating": False})
    assert load_config("c.json") == Config(gating=False)
    file({})
    assert load_config("./c.json") == Config()


def test_config_of_a_kit(file):
    file({"generator": "penstock", "config": {"word": 8}, "hash": "0x00000000"})
    assert load_config("c.json") == Config(word=8)


@pytest.mark.parametrize("name", ["huge", "c.txt", ""])
def test_unknown_preset(name, file):
    file({})
    names = ", ".join(PRESETS)
    with pytest.raises(PenstockError, match=f"^config must be one of {names}, not '{name}'$"):
        load_config(name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"rowz": 4}, "a field must be one of name, engine, "),
        ({"rows": "4"}, "rows must be an integer, not '4'"),
        ({"rows": 4.0}, "rows must be an integer, not 4.0"),
        ({"rows": True}, "rows must be an integer, not True"),
        ({"rows": None}, "rows must be an integer, not None"),
        ({"weights": 3}, "weights must be text, not 3"),
        ({"gating": 0}, "gating must be true or false, not 0"),
        ({"weights": ["resident"]}, "weights must be text, not ['resident']"),
        ({"rows": 5}, "rows must be one of 1, 2, 3, 4, 6, 9, not 5"),
        ({"config": {"map_words": 9999}}, "map_words must be an integer in 16..2048, not 9999"),
        ({"name": "x\nendmodule"}, r"name must be letters, digits and any of . _ -, not 'x\nend"),
        ({"name": "*/"}, "name must be letters, digits and any of . _ -, not '*/'"),
        ({"name": ""}, "name must be letters, digits and any of . _ -, not ''"),
        ([], "must be an object of fields, not []"),
        ({"config": "tiny"}, "must be an object of fields, not 'tiny'"),
        ("12", "must be an object of fields, not 12"),
        ("", "must be JSON (Expecting value"),
        ('{"rows": 4', "must be JSON ("),
        ('{"rows": NaN}', "rows must be an integer, not nan"),
        ("[" * 100_000, "must be JSON ("),
    ],
)
def test_wrong_content(content, message, file):
    file(content)
    with pytest.raises(PenstockError) as raised:
        load_config("c.json")
    assert str(raised.value).startswith(f"config c.json: {message}")
    assert "\n" not in str(raised.value)


def test_foreign_bytes(tmp_path):
    (tmp_path / "c.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PenstockError, match=r"c\.json: must be JSON \("):
        load_config(str(tmp_path / "c.json"))


def test_unreadable_files(tmp_path):
    (tmp_path / "folder.json").mkdir()
    for name, reason in (("none.json", "No such file"), ("folder.json", "Is a directory")):
        with pytest.raises(PenstockError, match=rf"{name}: must be a readable file \({reason}"):
            load_config(str(tmp_path / name))
