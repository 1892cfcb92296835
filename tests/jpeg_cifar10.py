"""Turns `cifar10_jpeg.npz.xz` into the standard folder ``cifar-10-batches-py`` in FOLDER.

    python tests/jpeg_cifar10.py FILE FOLDER

That file holds CIFAR-10's images re-encoded as JPEG, which loses some of them: call what is made
from it "CIFAR-10, JPEG re-encoded". Needs Pillow.
"""

import io
import lzma
import pickle
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from penstock.gold.cifar10 import BATCH_FILES, BATCH_IMAGES


def main(source: str, folder: str):
    with lzma.open(source) as file:
        arrays = np.load(io.BytesIO(file.read()))
    output = Path(folder) / "cifar-10-batches-py"
    output.mkdir(parents=True, exist_ok=True)
    for split, names in BATCH_FILES.items():
        jpeg, offset = arrays[f"{split}_jpeg"].tobytes(), arrays[f"{split}_offset"]
        labels = arrays[f"{split}_label"].tolist()
        for part, name in enumerate(names):
            chosen = range(part * BATCH_IMAGES, (part + 1) * BATCH_IMAGES)
            pixels = [
                np.asarray(Image.open(io.BytesIO(jpeg[offset[i] : offset[i + 1]])).convert("RGB"))
                for i in chosen
            ]
            data = np.stack(pixels).transpose(0, 3, 1, 2).reshape(BATCH_IMAGES, -1)
            batch = {b"data": data, b"labels": [labels[i] for i in chosen]}
            (output / name).write_bytes(pickle.dumps(batch))
            print(output / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
