"""Files that appear whole or not at all, and progress while something takes long."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from penstock.errors import PenstockError
from penstock.network import write_whole


def check_writable(*paths: str | os.PathLike | None):
    """Raise PenstockError for a file that could not be written: before the work, not after it."""
    for path in filter(None, paths):
        folder = Path(path).parent
        if not folder.is_dir():
            raise PenstockError(f"{path}: must be a writable file ({folder} is no folder)")
        if Path(path).is_dir():
            raise PenstockError(f"{path}: must be a writable file, not a folder")
        if not os.access(path if Path(path).exists() else folder, os.W_OK):
            raise PenstockError(f"{path}: must be a writable file (permission denied)")


def write_json(path: str | os.PathLike | None, content: dict):
    """Write a dict as JSON; without a path do nothing."""
    if path is not None:
        write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def write_all(folder: Path, files: Mapping[str, str]):
    """Write several text files, by their names: where one cannot be written, none appears.

    Raises PenstockError naming it.
    """
    partial = {name: folder / f"{name}.partial" for name in files}
    try:
        for name, text in files.items():
            partial[name].write_bytes(text.encode())
        for name in files:
            partial[name].replace(folder / name)
    except OSError as error:
        raise PenstockError(
            f"{folder / name}: must be a writable file ({error.strerror})"
        ) from None
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def progress(text: str) -> Iterator[None]:
    """Show on standard error what is going on: with the time it takes, if that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"{text} ...", highlight=False, soft_wrap=True)
        yield
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        bar.add_task(text, total=None)
        yield


@contextlib.contextmanager
def progress_bar(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """As `progress`, with a bar on a terminal: call what it gives with how much more is done."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"{text} ...", highlight=False, soft_wrap=True)
        yield lambda amount: None
        return
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(text, total=total)
        yield lambda amount: bar.advance(task, amount)
