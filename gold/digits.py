"""The embedded default data: scikit-learn's load_digits, 1,797 images of handwritten digits."""

import numpy as np

from penstock.errors import PenstockError

SIZE = 16
"""Height and width of an image, pixels."""
CLASSES = 10
HELD_OUT = 5
"""Every fifth image, beginning with the first, is held out: 360 for test, 1,437 for training."""


def load_digits_images(split: str = "test") -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) of the split "train" or "test".

    images (N, 1, 16, 16) uint8: the 8x8 originals, each pixel twice in both directions, their
    levels 0..16 times 15; labels (N,) int64 in 0..9. Raises PenstockError for any other split.
    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    if split not in ("train", "test"):
        raise PenstockError(f"split must be one of train, test, not {split!r}")
    from sklearn.datasets import load_digits  # slow to import, and only needed here

    digits = load_digits()
    images = (digits.images * 15).astype(np.uint8)[:, None].repeat(2, axis=2).repeat(2, axis=3)
    held_out = np.arange(len(images)) % HELD_OUT == 0
    chosen = held_out if split == "test" else ~held_out
    return images[chosen], digits.target[chosen].astype(np.int64)
