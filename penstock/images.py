"""Images for a network on the command line: held-out digits, or a file of the user's."""

import os
import zipfile
from pathlib import Path

import numpy as np

from penstock.errors import PenstockError
from penstock.gold.digits import SIZE, load_digits_images
from penstock.network import Network, Shape

DIGITS = Shape(channels=1, height=SIZE, width=SIZE, signed=False)
DEFAULT_COUNT = 8


def choose_images(
    network: Network, path: str | os.PathLike | None, count: int | None, seed: int
) -> np.ndarray:
    """(count, C, H, W) images, uint8 or int8, as the network takes them.

    From ``path``, its first ``count`` (all without a count); without a path, held-out digits chosen
    by `held_out_digits`. Raises PenstockError where there are none, or too few, or others.
    """
    if count is not None and count < 1:
        raise PenstockError(f"images: must be at least 1, not {count}")
    if path is not None:
        return _from_file(path, count)
    if network.input != DIGITS:
        shape = network.input
        raise PenstockError(
            f"network {network.name}: needs images, --input FILE.npy, "
            f"{'int8' if shape.signed else 'uint8'} (N, {shape.channels}, {shape.height}, "
            f"{shape.width}); only 1x16x16 unsigned has a default"
        )
    return held_out_digits(count or DEFAULT_COUNT, seed)[0]


def held_out_digits(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) of ``count`` held-out digits, drawn by the seed, none of them twice."""
    images, labels = load_digits_images("test")
    if not 1 <= count <= len(images):
        raise PenstockError(f"images: must be in 1..{len(images)} held-out digits, not {count}")
    chosen = np.sort(np.random.default_rng(seed).choice(len(images), count, replace=False))
    return images[chosen], labels[chosen]


def calibration_images(path: str | os.PathLike) -> np.ndarray:
    """Images (N, C, H, W) uint8 from a .npy file, or from a .npz of one array, or of `images`.

    Raises PenstockError where the file is missing, or holds something else.
    """
    if not Path(path).is_file():
        raise PenstockError(f"images {path}: no such file")
    try:
        content = np.load(path, allow_pickle=False)
        if not isinstance(content, np.ndarray):
            with content:
                names = content.files
                name = names[0] if len(names) == 1 else "images"
                if name not in names:
                    raise PenstockError(
                        f"images {path}: must hold one array, or one named images, "
                        f"not {', '.join(names) or 'none'}"
                    )
                content = content[name]
    except PenstockError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise PenstockError(f"images {path}: must be a whole .npz or .npy file") from None
    check_calibration(content)
    return content


def check_calibration(images: np.ndarray):
    """Raise PenstockError for images that cannot calibrate: not uint8 (N, C, H, W), or none."""
    if images.ndim != 4 or images.dtype != np.uint8 or not images.size:
        raise PenstockError(
            "calibration images: must be uint8 (N, C, H, W) with N of 1 or more, "
            f"not {images.dtype.name} {images.shape}"
        )


def _from_file(path: str | os.PathLike, count: int | None) -> np.ndarray:
    if not Path(path).is_file():
        raise PenstockError(f"images {path}: no such file")
    try:
        images = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise PenstockError(f"images {path}: must be a whole .npy file of an array") from None
    if not isinstance(images, np.ndarray) or images.ndim != 4:
        came = f"shape {images.shape}" if isinstance(images, np.ndarray) else "an archive"
        raise PenstockError(f"images {path}: must be one array (N, C, H, W), not {came}")
    if count is not None and count > len(images):
        raise PenstockError(f"images {path}: must hold at least {count}, not {len(images)}")
    return np.ascontiguousarray(images[:count])
