"""The tools of synthesis: YoWASP's beside this Python, or those that the environment names."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from penstock.errors import PenstockError, SynthesisError

_LOG_TAIL = 12  # lines shown of a failed tool's output
_WATCHED_EVERY = 5.0  # seconds


class Tool:
    """One program, by the name that it has without YoWASP, such as ``nextpnr-ecp5``.

    The environment variable that Amaranth uses comes first (``NEXTPNR_ECP5``), then YoWASP's or,
    as of gowin_pack, the tool itself beside the running Python, then YoWASP's on the path. Raises
    PenstockError where there is none.
    """

    def __init__(self, name: str):
        self.name = name
        variable = name.upper().replace("-", "_")
        names = (f"yowasp-{name}", name)
        beside = (Path(sys.executable).with_name(each) for each in names)
        self.program = (
            os.environ.get(variable)
            or next((str(path) for path in beside if path.exists()), None)
            or shutil.which(names[0])
        )
        if self.program is None:
            raise PenstockError(
                f"{name}: must be installed: pip install 'penstock[boards]', or {variable} must "
                "name it"
            )
        self.banner = self._banner()

    def _banner(self) -> str:
        """What it calls itself, its version included."""
        try:
            done = subprocess.run(
                [self.program, "--version"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise PenstockError(
                f"{self.name}: {self.program} must be a program ({error.strerror})"
            ) from None
        lines = done.stdout.splitlines()
        return next((line for line in lines if re.search(r"\d\.\d", line)), "")

    @property
    def version(self) -> str:
        """Its number alone."""
        found = re.search(r"\d+\.\d+[\w.+-]*", self.banner)
        return found[0] if found else "unknown"

    def run(
        self,
        arguments: list[str],
        folder: Path,
        stuck: Callable[[Path], str | None] = lambda folder: None,
    ) -> int:
        """Run it in a folder, which is all that a tool of YoWASP sees; its exit code.

        Standard output and error go into ``NAME.out`` there. Now and then ``stuck(folder)`` may say
        why it should not go on: then it is stopped, with an ERROR at the end of its output.
        """
        with (folder / f"{self.name}.out").open("w") as output:
            process = subprocess.Popen(
                [self.program, *arguments],
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
            reason = None
            try:
                while not reason:
                    try:
                        return process.wait(_WATCHED_EVERY)
                    except subprocess.TimeoutExpired:
                        reason = stuck(folder)
            finally:  # however this ends, no process is left
                process.kill()
                process.wait()
            output.write(f"\nERROR: {reason}\n")
            return 1

    def check(self, arguments: list[str], folder: Path):
        """As `run`; raises SynthesisError with the end of its output where it fails."""
        if self.run(arguments, folder):
            raise SynthesisError(f"{self.name} failed:\n{self.tail(folder)}")

    def tail(self, folder: Path) -> str:
        """The end of what it printed in a folder."""
        lines = (folder / f"{self.name}.out").read_text(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL:])
