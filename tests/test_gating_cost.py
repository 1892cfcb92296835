"""What gating costs, counted in netlists of a few cells."""

import pytest

from penstock.boards.gating_cost import counts, main, table


def _module(**numbers: int) -> dict:
    cells = [kind for kind, number in numbers.items() for _ in range(number)]
    return {"cells": {f"cell{index}": {"type": kind} for index, kind in enumerate(cells)}}


def test_counts():
    found = counts(_module(LUT4=10, CCU2C=3, TRELLIS_DPR16X4=2, TRELLIS_FF=7, PFUMX=5, DP16KD=1))
    assert found == {
        "LUT4": 10,
        "carry chains": 6,
        "distributed RAM": 8,
        "all places of LUT4s": 24,
        "flip-flops": 7,
        "multipliers": 0,
        "block RAMs": 1,
    }


def test_table_gives_the_share_of_the_gated_core():
    text = table(counts(_module(LUT4=1250, MULT18X18D=4)), counts(_module(LUT4=1000, MULT18X18D=4)))
    assert "| LUT4 | 1,250 | 1,000 | 20.0% |" in text
    assert "| multipliers | 4 | 4 | 0.0% |" in text
    assert "| flip-flops | 0 | 0 | 0.0% |" in text


@pytest.mark.parametrize("config", ["icebreaker", '{"name": "dense", "gating": false}'])
def test_refused(tmp_path, capsys, config):
    if config.startswith("{"):
        file = tmp_path / "dense.json"
        file.write_text(config)
        config = str(file)
    assert main(["--config", config]) == 2
    assert "must be of the engine array, with gating" in capsys.readouterr().err
