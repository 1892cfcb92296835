"""Gating pays in cycles: the bounds that the RTL keeps at the size of the ULX3S."""

import pytest

from penstock.bench import DENSITIES, LAYERS, gating
from penstock.config import preset

RATIO = {32: 1.08, 16: 1.08, 8: 1.15}
"""Cycles over the ideal, by the size of the map."""


@pytest.fixture(scope="module")
def rows():
    return gating(preset("ulx3s-85f"))["rows"]


def test_every_layer_at_every_density(rows):
    assert [(row["channels"], row["size"]) for row in rows] == [
        layer for layer in LAYERS for _ in DENSITIES
    ]
    for row, density in zip(rows, len(LAYERS) * DENSITIES, strict=True):
        assert abs(row["density"] - density) < 0.02
        assert row["mismatches"] == 0


def test_cycles_follow_the_macs(rows):
    for row in rows:
        assert 1 < row["ratio"] <= RATIO[row["size"]], row


def test_gates_that_never_skip_cost_little(rows):
    for row in rows:
        if row["density"] == 1:
            assert row["ratio_to_dense"] <= 1.05, row


def test_dense_utilization(rows):
    assert all(0.95 <= row["utilization_dense"] < 1 for row in rows)


def test_cycle_model(rows):
    for row in rows:
        for name in ("cycles", "cycles_dense"):
            assert abs(row[f"model_{name}"] / row[name] - 1) <= 0.03, row
