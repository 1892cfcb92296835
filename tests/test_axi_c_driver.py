"""The C driver in co-simulation with the accelerator, over AXI4-Lite."""

import subprocess
from pathlib import Path

import numpy as np
from axi_cases import bench_job, small_case

from penstock.compiler import compile_network
from penstock.config import Config, preset
from penstock.hw.integration import DRIVER, c_header
from penstock.images import held_out_digits
from penstock.network import SHIPPED, load_network
from penstock.registers import Code
from penstock.sim.runner import run
from penstock.sim.simulate import build_accelerator

TINY, ULX3S = preset("tiny"), preset("ulx3s-85f")
IMAGES = 8

BUS_H = """
#include <stdint.h>
uint32_t bus_read(uintptr_t address);
void bus_write(uintptr_t address, uint32_t value);
"""

APPLICATION_C = """
#include "penstock.h"
#include "bus.h"

static uint32_t (*read_word)(uintptr_t);
static void (*write_word)(uintptr_t, uint32_t);

void connect(uint32_t (*read)(uintptr_t), void (*write)(uintptr_t, uint32_t));
int application(uintptr_t base, uint32_t program, const struct penstock_run *run,
                struct penstock_counters *counters);

void connect(uint32_t (*read)(uintptr_t), void (*write)(uintptr_t, uint32_t))
{
    read_word = read;
    write_word = write;
}

uint32_t bus_read(uintptr_t address) { return read_word(address); }
void bus_write(uintptr_t address, uint32_t value) { write_word(address, value); }

int application(uintptr_t base, uint32_t program, const struct penstock_run *run,
                struct penstock_counters *counters)
{
    struct penstock device;
    int code = penstock_open(&device, base);

    if (code == PENSTOCK_CODE_OK)
        code = penstock_load(&device, program);
    if (code == PENSTOCK_CODE_OK)
        code = penstock_wait(&device, 1000000);
    if (code == PENSTOCK_CODE_OK)
        code = penstock_run(&device, run, 1000000);
    penstock_counters(&device, counters);
    return code;
}
"""


def library(config: Config, folder: Path) -> str:
    """Path of the driver and the application, compiled for a configuration."""
    folder.mkdir()
    for name in ("penstock.c", "penstock.h"):
        (folder / name).write_text((DRIVER / name).read_text())
    (folder / "penstock_registers.h").write_text(c_header(config))
    (folder / "bus.h").write_text(BUS_H)
    (folder / "application.c").write_text(APPLICATION_C)
    command = ["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-shared", "-fPIC"]
    command += ["-include", "bus.h", "-DPENSTOCK_READ32=bus_read", "-DPENSTOCK_WRITE32=bus_write"]
    command += ["penstock.c", "application.c", "-o", "driver.so"]
    subprocess.run(command, cwd=folder, check=True)
    return str(folder / "driver.so")


def co_simulate(folder: Path, config: Config, program, images: np.ndarray, *, errors: bool):
    parameters = {
        "bits": config.axi_bits,
        "jobs": [bench_job(program, images, folder)],
        "latency": (0, 40),
        "stalls": 0.0,
        "library": library(config, folder / "driver"),
        "other_library": library(preset("icebreaker"), folder / "other"),
        "errors": errors,
        "gating": (1, 0) if errors else (1,),
        "corruptions": [
            (0, 1, Code.BAD_MAGIC),
            (1, 1, Code.BAD_CONFIG),
            (8, 1, Code.BAD_CRC),
        ],
    }
    build = build_accelerator(config)
    bench = "penstock.sim.tb_axi_c_driver"
    run(build, bench, parameters, tests=1 + errors, seed=3, folder=folder)


def test_c_driver_and_its_errors(tmp_path):
    co_simulate(tmp_path, TINY, *small_case(TINY, seed=4), errors=True)


def test_c_driver_runs_digits(tmp_path):
    program = compile_network(load_network(SHIPPED["digits"]), ULX3S)
    co_simulate(tmp_path, ULX3S, program, held_out_digits(IMAGES)[0], errors=False)
