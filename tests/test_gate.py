"""The golden gate: strictly greater, per channel."""

import numpy as np
import pytest

from penstock.errors import PenstockError
from penstock.gold.gate import gate


def test_a_tie_is_skipped():
    threshold = np.array([-3, 0, 7, 2**31 - 1, -(2**31)], np.int32)
    around = threshold.astype(np.int64)[:, None, None] + np.array([-1, 0, 1])
    expected = np.broadcast_to([False, False, True], (1, 5, 1, 3))
    np.testing.assert_array_equal(gate(around[None], threshold), expected)


def test_channels_have_their_own_thresholds():
    rng = np.random.default_rng(0)
    psum = rng.integers(-9, 10, (3, 6, 4, 5))
    threshold = rng.integers(-9, 10, 6).astype(np.int32)
    decision = gate(psum, threshold)
    assert decision.dtype == np.bool_
    for n, o, y, x in np.ndindex(psum.shape):
        assert decision[n, o, y, x] == (int(psum[n, o, y, x]) > int(threshold[o]))


@pytest.mark.parametrize("edge, expected", [(-(2**25), True), (2**25 - 1, False)])
def test_always_on_and_always_off(edge, expected):
    psum = np.array([-(2**25) + 1, -1, 0, 1, 2**25 - 1]).reshape(1, 1, 1, 5)
    assert (gate(psum, np.array([edge], np.int32)) == expected).all()


@pytest.mark.parametrize(
    "psum, threshold, message",
    [
        (
            np.zeros((1, 2, 3, 3), np.float32),
            np.zeros(2, np.int32),
            "gate: psum must be int64 (N, C, H, W), not float32 (1, 2, 3, 3)",
        ),
        (
            np.zeros((1, 2, 3, 3), np.int64),
            np.zeros(3, np.int32),
            "gate: threshold must be int32 (2,), not int32 (3,)",
        ),
        (
            np.zeros((1, 2, 3, 3), np.int64),
            np.zeros(2),
            "gate: threshold must be int32 (2,), not float64 (2,)",
        ),
    ],
)
def test_refusals(psum, threshold, message):
    with pytest.raises(PenstockError) as caught:
        gate(psum, threshold)
    assert str(caught.value) == message
