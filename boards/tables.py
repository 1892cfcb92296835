"""Many lookup tables at once: bilinear interpolation over arrays of queries."""

from collections.abc import Sequence

import numpy as np

from penstock.boards.liberty import Table


class Tables:
    """Lookup tables by their index, as they were added.

    Between its points a table is bilinear; beyond them it goes on as between the last two.
    """

    def __init__(self, tables: Sequence[Table]):
        rows = max((table.first.size for table in tables), default=1) + 1
        columns = max((table.second.size for table in tables), default=1) + 1
        self._first = np.full((len(tables), rows), np.inf)
        self._second = np.full((len(tables), columns), np.inf)
        self._values = np.zeros((len(tables), rows, columns))
        for index, table in enumerate(tables):
            first, second, values = table.first, table.second, table.values
            if first.size == 1:
                first, values = np.append(first, first + 1), values.repeat(2, axis=0)
            if second.size == 1:
                second, values = np.append(second, second + 1), values.repeat(2, axis=1)
            self._first[index, : first.size] = first
            self._second[index, : second.size] = second
            self._values[index, : first.size, : second.size] = values

    def look_up(self, index: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Value of table ``index[k]`` at ``first[k]`` and ``second[k]``; all of shape (N,)."""
        i, u = _place(self._first[index], first)
        j, v = _place(self._second[index], second)
        low = self._values[index, i, j] * (1 - v) + self._values[index, i, j + 1] * v
        high = self._values[index, i + 1, j] * (1 - v) + self._values[index, i + 1, j + 1] * v
        return low * (1 - u) + high * u


def _place(axes: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(interval, position in it) of x[k] on axes[k], whose unused ends are infinite."""
    last = np.isfinite(axes).sum(axis=1) - 2
    interval = np.clip((axes <= x[:, None]).sum(axis=1) - 1, 0, last)
    rows = np.arange(x.size)
    low, high = axes[rows, interval], axes[rows, interval + 1]
    return interval, (x - low) / (high - low)
