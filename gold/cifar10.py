"""CIFAR-10 as its authors distribute it: the folder ``cifar-10-batches-py``."""

import os
import pickle
from pathlib import Path

import numpy as np

from penstock.errors import PenstockError

SIZE = 32
"""Height and width of an image, pixels."""
CHANNELS = 3
CLASSES = 10
BATCH_FILES = {
    "train": tuple(f"data_batch_{part}" for part in range(1, 6)),
    "test": ("test_batch",),
}
BATCH_IMAGES = 10_000
"""Images of one file."""

_PIXELS = CHANNELS * SIZE * SIZE
_ARRAY_PARTS = {  # what a pickled array of uint8 is made from, by numpy 1 and numpy 2
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def load_cifar10(folder: str | os.PathLike, split: str = "test") -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) of the split "train" (50,000) or "test" (10,000).

    images (N, 3, 32, 32) uint8, red, green, blue; labels (N,) int64 in 0..9. ``folder`` is
    ``cifar-10-batches-py`` or the folder that holds it. Raises PenstockError where a file is
    missing, truncated or something else.
    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    if split not in BATCH_FILES:
        raise PenstockError(f"split must be one of {', '.join(BATCH_FILES)}, not {split!r}")
    folder = Path(folder)
    if (folder / "cifar-10-batches-py").is_dir():
        folder = folder / "cifar-10-batches-py"
    missing = [name for name in BATCH_FILES[split] if not (folder / name).is_file()]
    if missing:
        raise PenstockError(
            f"CIFAR-10 folder {folder}: must hold {', '.join(BATCH_FILES[split])}, has no "
            f"{missing[0]}"
        )
    batches = [_load_batch(folder / name) for name in BATCH_FILES[split]]
    images, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
    return images.reshape(-1, CHANNELS, SIZE, SIZE), labels


def _load_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(images (N, 3072) uint8, labels (N,) int64) of one file."""
    try:
        with open(path, "rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
    except OSError as error:
        raise PenstockError(f"{path}: must be a readable file ({error.strerror})") from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise PenstockError(
            f"{path}: must be a whole batch of CIFAR-10, is truncated or no such file "
            f"({type(error).__name__}: {error})"
        ) from None
    fields = {} if not isinstance(content, dict) else {_text(key): content[key] for key in content}
    images, labels = fields.get("data"), fields.get("labels")
    if not isinstance(images, np.ndarray) or images.shape != (BATCH_IMAGES, _PIXELS):
        shape = images.shape if isinstance(images, np.ndarray) else type(images).__name__
        raise PenstockError(f"{path}: data must be ({BATCH_IMAGES}, {_PIXELS}), not {shape}")
    if images.dtype != np.uint8:
        raise PenstockError(f"{path}: data must be uint8, not {images.dtype}")
    labels = np.asarray(labels)
    if labels.shape != (BATCH_IMAGES,) or not set(np.unique(labels)) <= set(range(CLASSES)):
        raise PenstockError(f"{path}: labels must be {BATCH_IMAGES} integers in 0..{CLASSES - 1}")
    return images, labels.astype(np.int64)


def _text(key: bytes | str) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)


class _Unpickler(pickle.Unpickler):
    """Loads arrays and plain values only: a pickle from the net could run any code."""

    def find_class(self, module: str, name: str):
        if (module, name) not in _ARRAY_PARTS:
            raise pickle.UnpicklingError(f"holds {module}.{name}")
        return super().find_class(module, name)
