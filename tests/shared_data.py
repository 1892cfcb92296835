"""Data that lie beside the repository, where there are any."""

import os
from pathlib import Path


def shared(name: str) -> Path | None:
    """A file of the folder ``shared`` beside this repository or above it; None where it is absent.

    The environment variable PENSTOCK_SHARED names another folder.
    """
    folders = [parent / "shared" for parent in Path(__file__).resolve().parents]
    if "PENSTOCK_SHARED" in os.environ:
        folders.insert(0, Path(os.environ["PENSTOCK_SHARED"]))
    return next((folder / name for folder in folders if (folder / name).is_file()), None)
