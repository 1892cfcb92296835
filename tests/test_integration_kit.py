"""The files beside the Verilog: they say what the hardware says, and the driver runs."""

import ctypes
import json
import re
import subprocess
from pathlib import Path

import pytest
from accelerator_model import IMAGE_BYTES, AcceleratorModel, model_program
from amaranth.hdl import Fragment
from verilog_tools import lint, yosys

from penstock import __version__
from penstock.config import Config, preset
from penstock.configuration_file import load_config
from penstock.documentation import ROOT
from penstock.hw.control import COUNTERS
from penstock.hw.integration import (
    ACCELERATOR,
    CORE,
    Port,
    generate,
    kit,
    kit_files,
    top_ports,
)
from penstock.program import HEADER, VERSION
from penstock.registers import (
    ADDRESS,
    ALIGNMENT,
    IDENTITY,
    REGISTERS,
    STATUS_FIELDS,
    WATCHDOG_RESET,
    Code,
    Command,
    State,
)

TINY = preset("tiny")
TOPS = {"accelerator": ACCELERATOR, "core": CORE}
PORTS = (Port("aclk", "input", 1), Port("aresetn", "input", 1))
"""Ports for what does not depend on them."""

C99 = ("cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
CPP = ("c++", "-Wall", "-Wextra", "-Werror")


@pytest.fixture(scope="module", params=TOPS)
def generated(request, tmp_path_factory):
    """(top, folder) with everything that `penstock verilog` writes for `tiny`."""
    folder, top = tmp_path_factory.mktemp("kit"), TOPS[request.param]
    for name, text in generate(TINY, "penstock", top).items():
        (folder / name).write_text(text)
    return top, folder


@pytest.fixture(scope="module")
def software(tmp_path_factory):
    """A folder with the C files of `tiny`; they are the same for every top."""
    folder = tmp_path_factory.mktemp("software")
    for name, text in kit(TINY, "penstock", ACCELERATOR, PORTS).items():
        if name.endswith((".c", ".h")):
            (folder / name).write_text(text)
    return folder


def tool(folder: Path, *command: str) -> str:
    """Output of a command that must succeed without a word."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# What the hardware is, for tools.


def verilog_ports(text: str, module: str) -> dict[str, tuple[str, int]]:
    """Direction and width of a module's ports, as its Verilog declares them."""
    body = re.search(rf"^module {module}\(.*?^endmodule", text, re.DOTALL | re.MULTILINE)[0]
    declared = re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\w+) *;", body, re.MULTILINE)
    return {name: (direction, int(high or 0) + 1) for direction, high, name in declared}


def test_files_are_those_announced(generated):
    top, folder = generated
    assert {path.name for path in folder.iterdir()} >= set(kit_files("penstock", top))
    assert list(kit_files("acc", top)) == ["acc.v", *kit(TINY, "acc", top, PORTS)]
    fixed = {name for name in kit_files("acc", top) if not name.startswith("acc")}
    assert fixed == {*("penstock.c", "penstock.h", "penstock_registers.h", "penstock_registers.md")}


def test_json_gives_the_configuration_back(generated):
    _, folder = generated
    content = json.loads((folder / "penstock.json").read_text())
    assert Config(**content["config"]) == TINY == load_config(str(folder / "penstock.json"))
    assert content["version"] == __version__
    assert int(content["hash"], 16) == TINY.hash


def test_json_has_the_verilog_s_ports(generated):
    top, folder = generated
    content = json.loads((folder / "penstock.json").read_text())
    declared = verilog_ports((folder / "penstock.v").read_text(), content["top"])
    assert {port["name"]: (port["direction"], port["width"]) for port in content["ports"]} == (
        declared
    )
    assert declared[content["clock"]] == declared[content["reset"]["port"]] == ("input", 1)
    assert content["reset"]["active"] == ("high" if top is CORE else "low")


def test_json_has_the_registers():
    content = json.loads(kit(TINY, "penstock", ACCELERATOR, PORTS)["penstock.json"])
    constants = {"IDENTITY": IDENTITY, "VERSION": VERSION, "CONFIG": TINY.hash}
    for register, entry in zip(REGISTERS, content["registers"], strict=True):
        reset = constants.get(register.name, register.reset)
        assert entry == vars(register) | {"reset": reset}
    for key, kind in (("commands", Command), ("states", State), ("codes", Code)):
        assert content[key] == {each.name: each for each in kind}
    fields = [(field["name"], field["bits"]) for field in content["status"]]
    assert fields == list(STATUS_FIELDS)
    assert [field["lsb"] for field in content["status"]] == [0, 8, 12, 13, 14]


@pytest.mark.parametrize("bits", [32, 128])
def test_ports_follow_the_axi_width(bits):
    component = ACCELERATOR.component(Config(axi_bits=bits))
    Fragment.get(component, None)  # Amaranth warns of components that are made and not used
    widths = {port.name: port.width for port in top_ports(component, ACCELERATOR)}
    assert (widths["m_axi_rdata"], widths["m_axi_wstrb"]) == (bits, bits // 8)
    assert widths["s_axil_wdata"] == 32


def test_instance_fits_the_verilog(generated):
    """The template connects every port at its width; a port left out would be found."""
    top, folder = generated
    module = f"{top.module}_instance"
    options = ("--top-module", module)
    done = lint(folder / "penstock.v", folder / "penstock_instance.v", options=options)
    assert (done.returncode, done.stderr) == (0, "")

    text = (folder / "penstock_instance.v").read_text()
    for found, wrong, rule in (
        (f".{top.clock}({top.clock}),", "", "PINMISSING"),
        (f".{top.reset}(", ".other(", "PINNOTFOUND"),
    ):
        assert text.count(found) == 1
        (folder / "wrong.v").write_text(text.replace(found, wrong))
        assert rule in lint(folder / "penstock.v", folder / "wrong.v", options=options).stderr


def test_instance_elaborates_in_yosys(generated):
    top, folder = generated
    check = f"hierarchy -check -top {top.module}_instance"
    code, log = yosys(folder, "read_verilog penstock.v penstock_instance.v", check)
    assert code == 0, log[-2000:]
    assert "Warning" not in log
    text = (folder / "penstock_instance.v").read_text()
    (folder / "wrong.v").write_text(text.replace(".interrupt(", ".interupt("))
    code, log = yosys(folder, "read_verilog penstock.v wrong.v", check)
    assert code != 0
    assert "interupt" in log


def test_instance_wires_have_the_ports_widths(generated):
    top, folder = generated
    declared = verilog_ports((folder / "penstock.v").read_text(), top.module)
    text = (folder / "penstock_instance.v").read_text()
    wires = re.findall(r"^  wire (?:\[(\d+):0\] )?(\w+);  // (\w+)$", text, re.MULTILINE)
    assert {name: (way, int(high or 0) + 1) for high, name, way in wires} == declared


def test_timing_constraints_name_each_port_once(generated):
    top, folder = generated
    ports = verilog_ports((folder / "penstock.v").read_text(), top.module)
    text = (folder / "penstock.sdc").read_text()
    named = {}
    for kind, names in re.findall(r"^set_(input|output)_delay .*?\{(.*?)\}\]", text, re.S | re.M):
        for name in names.split():
            port = name.removesuffix("[*]")
            assert port not in named
            named[port] = kind
            assert (port != name) == (ports[port][1] > 1), f"{name}: [*] stands for a vector"
    clock = re.search(r"^create_clock -name (\w+) .*\[get_ports \{(\w+)\}\]$", text, re.M)
    assert clock.groups() == (top.clock, top.clock)
    assert named == {name: way for name, (way, _) in ports.items() if name != top.clock}


def test_pin_constraints_name_ports(generated):
    top, folder = generated
    text = (folder / "penstock.lpf").read_text()
    ports = verilog_ports((folder / "penstock.v").read_text(), top.module)
    named = set(re.findall(r'(?:PORT|COMP) "(\w+)"', text))
    assert named and named <= set(ports)
    active = [line for line in text.splitlines() if not line.startswith("#")]
    assert active == [f'FREQUENCY PORT "{top.clock}" 50 MHZ;']


def test_register_map_has_the_tables_of_the_documentation():
    text = kit(TINY, "penstock", ACCELERATOR, PORTS)["penstock_registers.md"]
    page = (ROOT / "docs" / "registers.md").read_text()
    tables = re.findall(r"^<!-- (\w+) -->\n(.*?)\n<!-- /\1 -->$", page, re.S | re.M)
    assert [name for name, _ in tables] == ["registers", "codes"]
    for _, table in tables:
        assert table in text
    assert f"{TINY.hash:#010x}" in text


# The header and the driver's source.


def constants() -> dict[str, int]:
    """Every name that penstock_registers.h must define."""
    named = {f"REG_{register.name}": register.address for register in REGISTERS}
    for kind in (Command, State, Code):
        named |= {f"{kind.__name__.upper()}_{each.name}": int(each) for each in kind}
    lsb = 0
    for name, bits in STATUS_FIELDS:
        named[f"STATUS_{name.upper()}_SHIFT"] = lsb
        named[f"STATUS_{name.upper()}_MASK"] = ((1 << bits) - 1) << lsb
        lsb += bits
    named |= {"IDENTITY": IDENTITY, "FORMAT_VERSION": VERSION, "CONFIG_HASH": TINY.hash}
    named |= {"ALIGNMENT": ALIGNMENT, "WATCHDOG_RESET": WATCHDOG_RESET}
    return {f"PENSTOCK_{name}": value for name, value in named.items()}


def test_header_s_constants_are_the_hardware_s(software):
    expected = constants()
    prints = "".join(
        f'    printf("{name} %lu\\n", (unsigned long)({name}));\n' for name in expected
    )
    program = f'#include <stdio.h>\n#include "penstock_registers.h"\nint main(void)\n{{\n{prints}'
    (software / "constants.c").write_text(program + "    return 0;\n}\n")
    tool(software, *C99, "constants.c", "-o", "constants")
    lines = tool(software, "./constants").splitlines()
    assert {name: int(value) for name, value in map(str.split, lines)} == expected

    text = (software / "penstock_registers.h").read_text()
    defined = re.findall(r"^(?:#define|   ) (PENSTOCK_\w+) ", text, re.MULTILINE)
    assert sorted(defined) == sorted(expected)


@pytest.mark.parametrize("order", [("penstock.h", "penstock_registers.h"), ("penstock.h",) * 2])
def test_headers_are_clean_c_and_cpp(software, order):
    use = "struct penstock device; return penstock_open(&device, 0x40000000u);"
    text = "".join(f'#include "{name}"\n' for name in order) + f"int f(void) {{ {use} }}\n"
    for compiler, suffix in ((C99, "c"), (CPP, "cpp")):
        (software / f"use.{suffix}").write_text(text)
        tool(software, *compiler, "-c", f"use.{suffix}", "-o", "use.o")


def test_driver_links_from_cpp(software):
    use = "penstock device; return penstock_open(&device, reinterpret_cast<uintptr_t>(registers));"
    values = f"{{PENSTOCK_IDENTITY, {VERSION}, PENSTOCK_CONFIG_HASH}}"
    text = f'#include "penstock.h"\nuint32_t registers[3] = {values};\nint main() {{ {use} }}\n'
    (software / "main.cpp").write_text(text)
    tool(software, *C99, "-c", "penstock.c", "-o", "driver.o")
    tool(software, *CPP, "main.cpp", "driver.o", "-o", "main")
    tool(software, "./main")


@pytest.mark.parametrize("option", ["-O0", "-O2", "-fshort-enums"])
def test_driver_needs_no_library(software, option):
    """Freestanding, and no symbol left to link."""
    flags = ("-ffreestanding", "-nostdlib", "-shared", "-fPIC", "-Wl,-z,defs")
    tool(software, *C99, option, *flags, "penstock.c", "-o", "freestanding.so")


def test_counters_are_all_of_the_registers(software):
    text = (software / "penstock.h").read_text()
    members = re.search(r"struct penstock_counters \{(.*?)\};", text, re.DOTALL)[1]
    assert re.findall(r"(\w+);", members) == ["cycles", *COUNTERS]


def test_example_of_the_documentation_compiles(software):
    page = (ROOT / "docs" / "integration.md").read_text()
    examples = re.findall(r"^```c\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert examples
    (software / "example.c").write_text("\n".join(examples))
    tool(software, *C99, "-c", "example.c", "-o", "example.o")


def test_example_reads_the_header_s_lengths():
    """Words 12 and 13, of 32 bits, of a program."""
    bits = [(field.name, field.bits) for field in HEADER.words[6]]
    assert bits == [("input_beats", 32), ("output_beats", 32)]


def test_documentation_names_every_file():
    page = (ROOT / "docs" / "integration.md").read_text()
    for name in kit_files("penstock", ACCELERATOR):
        assert f"`{name}`" in page


# The driver on a model of the registers.

NOT_DONE, BUSY, DRAINING, WRONG_IDENTITY, WRONG_VERSION, WRONG_CONFIG = range(256, 262)
BASE = 0x4000_0010  # no power of two, to tell + from |
PROGRAM, IMAGES, OUTPUTS, MEMORY = 0x80, 0x400, 0x800, 0x1000
KEY = 77
POLLS = 1000

SHIM_H = """
#include <stdint.h>
uint32_t model_read(uintptr_t address);
void model_write(uintptr_t address, uint32_t value);
void model_barrier(void);
"""
SHIM_C = """
#include <stddef.h>
#include "penstock.h"
static uint32_t (*read_register)(uintptr_t);
static void (*write_register)(uintptr_t, uint32_t);
static void (*order)(void);
void connect(uint32_t (*r)(uintptr_t), void (*w)(uintptr_t, uint32_t), void (*b)(void));
void connect(uint32_t (*r)(uintptr_t), void (*w)(uintptr_t, uint32_t), void (*b)(void))
{
    read_register = r;
    write_register = w;
    order = b;
}
uint32_t model_read(uintptr_t address) { return read_register(address); }
void model_write(uintptr_t address, uint32_t value) { write_register(address, value); }
void model_barrier(void) { order(); }
size_t counters_size(void);
size_t counters_size(void) { return sizeof(struct penstock_counters); }
"""
READ = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_size_t)
WRITE = ctypes.CFUNCTYPE(None, ctypes.c_size_t, ctypes.c_uint32)
BARRIER = ctypes.CFUNCTYPE(None)


class Device(ctypes.Structure):
    """struct penstock"""

    _fields_ = [("base", ctypes.c_size_t)]


class Run(ctypes.Structure):
    """struct penstock_run"""

    _fields_ = [
        (name, ctypes.c_uint32)
        for name in ("input", "input_stride", "output", "output_stride", "images", "gating")
    ]


class Counters(ctypes.Structure):
    """struct penstock_counters"""

    _fields_ = [("cycles", ctypes.c_uint64), *((name, ctypes.c_uint32) for name in COUNTERS)]


@pytest.fixture(scope="module")
def library(software):
    """The driver as a shared library whose registers are Python functions."""
    (software / "shim.h").write_text(SHIM_H)
    (software / "shim.c").write_text(SHIM_C)
    names = {"READ32": "model_read", "WRITE32": "model_write", "BARRIER": "model_barrier"}
    options = [f"-DPENSTOCK_{name}={function}" for name, function in names.items()]
    flags = ("-shared", "-fPIC", "-include", "shim.h", *options)
    tool(software, *C99, *flags, "penstock.c", "shim.c", "-o", "driver.so")
    library = ctypes.CDLL(str(software / "driver.so"))
    library.penstock_code_text.restype = ctypes.c_char_p
    library.penstock_read.restype = ctypes.c_uint32
    library.penstock_abort.restype = library.penstock_counters.restype = None
    library.counters_size.restype = ctypes.c_size_t
    return library


class Host:
    """A processor with the driver, an accelerator model at BASE, and what went over the bus.

    ``log`` has ("read" or "write", register, value) and ("barrier",) in order.
    """

    def __init__(self, library):
        self._library = library
        self.memory = bytearray(MEMORY)
        self.memory[PROGRAM : PROGRAM + 72] = model_program(TINY.hash, KEY)
        self.memory[IMAGES:OUTPUTS] = bytes(range(256)) * ((OUTPUTS - IMAGES) // 256)
        self.model = AcceleratorModel(TINY.hash, self.memory)
        self.device = Device()
        self.log = []
        self.errors = []
        self._names = {register.address: register.name for register in REGISTERS}
        self._callbacks = READ(self._read), WRITE(self._write), BARRIER(self._barrier)
        library.connect(*self._callbacks)

    def _read(self, address: int) -> int:
        try:
            value = self.model.read(address - BASE)
            self.log.append(("read", self._names[address - BASE], value))
            return value
        except Exception as error:  # ctypes would only print it
            self.errors.append(error)
            return 0

    def _write(self, address: int, value: int):
        try:
            self.model.write(address - BASE, value)
            self.log.append(("write", self._names[address - BASE], value))
        except Exception as error:
            self.errors.append(error)

    def _barrier(self):
        self.log.append(("barrier",))

    def __getattr__(self, name: str):
        """A function of the driver, on this device: ``host.wait(3)`` is penstock_wait."""
        function = getattr(self._library, f"penstock_{name}")
        return lambda *arguments: function(ctypes.byref(self.device), *arguments)

    def loaded(self) -> "Host":
        """With the program loaded."""
        assert self.open(BASE) == Code.OK
        assert self.load(PROGRAM) == Code.OK
        assert self.wait(POLLS) == Code.OK
        self.log.clear()
        return self

    def begin(self, **changes):
        """penstock_start of `a_run`."""
        return self.start(ctypes.byref(a_run(**changes)))

    def check_works(self):
        """A run of one image gives the right output."""
        self.memory[OUTPUTS : OUTPUTS + IMAGE_BYTES] = bytes(IMAGE_BYTES)
        assert self.run(ctypes.byref(a_run()), POLLS) == Code.OK
        assert self.output(OUTPUTS) == self.expected(IMAGES)

    def output(self, address: int) -> bytes:
        return bytes(self.memory[address : address + IMAGE_BYTES])

    def expected(self, address: int, key: int = KEY) -> bytes:
        return bytes((byte + key) & 0xFF for byte in self.output(address))


def a_run(**changes) -> Run:
    """One image from IMAGES to OUTPUTS, unless changed."""
    fields = {"input": IMAGES, "input_stride": 64, "output": OUTPUTS, "output_stride": 64}
    return Run(**fields | {"images": 1, "gating": 1} | changes)


@pytest.fixture
def host(library):
    host = Host(library)
    yield host
    assert host.errors == []


@pytest.mark.parametrize(
    ("register", "result"),
    [
        (None, Code.OK),
        ("IDENTITY", WRONG_IDENTITY),
        ("VERSION", WRONG_VERSION),
        ("CONFIG", WRONG_CONFIG),
    ],
)
def test_open(host, register, result):
    host.device.base = 0
    if register is not None:
        host.model.values[register] ^= 1
    assert host.open(BASE) == result
    assert host.device.base == BASE


def test_load_and_run(host):
    """Three images with strides of their own, gated and dense; all else in memory stays."""
    host.loaded()
    for gating, key in ((1, KEY), (0, 0)):
        before = bytes(host.memory)
        run = a_run(input_stride=128, output_stride=192, images=3, gating=gating)
        assert host.run(ctypes.byref(run), POLLS) == Code.OK
        expected = bytearray(before)
        for image in range(3):
            place = OUTPUTS + 192 * image
            expected[place : place + IMAGE_BYTES] = host.expected(IMAGES + 128 * image, key)
        assert host.memory == expected


@pytest.mark.parametrize(
    ("byte", "code"),
    [
        (0, Code.BAD_MAGIC),
        (4, Code.BAD_VERSION),
        (8, Code.BAD_CONFIG),
        (12, Code.BAD_LENGTH),
        (64, Code.BAD_CRC),
    ],
)
def test_bad_programs(host, byte, code):
    assert host.open(BASE) == Code.OK
    host.memory[PROGRAM + byte] ^= 1
    assert host.load(PROGRAM) == Code.OK  # accepted; what is wrong is found on the way
    assert host.wait(POLLS) == code
    assert host.begin() == Code.OK
    assert host.wait(POLLS) == Code.NOT_LOADED
    host.memory[PROGRAM + byte] ^= 1
    host.loaded().check_works()


def test_run_before_load(host):
    assert host.open(BASE) == Code.OK
    assert host.run(ctypes.byref(a_run()), POLLS) == Code.NOT_LOADED


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"images": 0}, Code.BAD_COMMAND),
        ({"input": IMAGES + 8}, Code.MISALIGNED),
        ({"input_stride": 65}, Code.MISALIGNED),
        ({"output": OUTPUTS + 32}, Code.MISALIGNED),
        ({"output_stride": 1}, Code.MISALIGNED),
        ({"input": MEMORY}, Code.BUS_ERROR),
    ],
)
def test_bad_runs(host, changes, code):
    host.loaded()
    assert host.run(ctypes.byref(a_run(**changes)), POLLS) == code
    host.check_works()


def test_misaligned_program(host):
    assert host.open(BASE) == Code.OK
    assert host.load(PROGRAM + 8) == Code.OK
    assert host.wait(POLLS) == Code.MISALIGNED


def test_commands_are_refused_while_busy(host):
    """And what runs goes on with its own settings."""
    host.loaded()
    host.model.work = 100
    assert (host.busy(), host.done()) == (0, 1)
    assert host.begin() == Code.OK
    assert (host.busy(), host.done()) == (1, 0)
    assert host.begin(input=0, output=0) == BUSY
    assert host.load(0) == BUSY
    assert host.run(ctypes.byref(a_run(output=0)), POLLS) == BUSY
    assert host.wait(POLLS) == Code.OK
    assert host.output(OUTPUTS) == host.expected(IMAGES)
    assert host.begin() == Code.OK  # the refusal is over
    assert host.wait(POLLS) == Code.OK


def test_wait_reads_status_so_often(host):
    host.loaded()
    host.model.silent = True
    assert host.begin() == Code.OK
    host.log.clear()
    for polls in (0, 1, 7):
        assert host.wait(polls) == NOT_DONE
        assert [entry[:2] for entry in host.log] == [("read", "STATUS")] * polls
        host.log.clear()
    host.model.silent = False
    assert host.wait(POLLS) == Code.OK


def test_run_that_is_not_done_goes_on(host):
    host.loaded()
    assert host.run(ctypes.byref(a_run()), 1) == NOT_DONE
    assert host.wait(POLLS) == Code.OK
    assert host.output(OUTPUTS) == host.expected(IMAGES)


def test_abort(host):
    """While idle, and while running: refused until drained, then all works without a new LOAD."""
    host.loaded()
    host.abort()
    assert host.wait(1) == Code.ABORTED
    host.model.drain = 40
    assert host.begin() == Code.OK
    host.abort()
    assert (host.busy(), host.done()) == (1, 0)
    assert host.begin() == DRAINING
    assert host.load(PROGRAM) == DRAINING
    host.abort()
    assert host.wait(3) == NOT_DONE
    assert host.wait(POLLS) == Code.ABORTED
    assert host.busy() == 0
    host.check_works()


def test_silent_memory(host):
    """TIMEOUT while draining: done, but refusing until the answers have come."""
    host.loaded()
    host.write(ADDRESS["WATCHDOG"], 50)
    assert host.read(ADDRESS["WATCHDOG"]) == 50
    host.model.silent = True
    assert host.begin() == Code.OK
    assert host.wait(POLLS) == Code.TIMEOUT
    assert (host.busy(), host.done()) == (1, 1)
    assert host.begin() == DRAINING
    assert host.wait(1) == Code.TIMEOUT
    host.model.silent = False
    for _ in range(10):
        host.busy()
    assert host.busy() == 0
    host.check_works()


def test_timeout_of_an_abort(host):
    host.loaded()
    host.write(ADDRESS["WATCHDOG"], 50)
    assert host.begin() == Code.OK
    host.model.silent = True
    host.abort()
    assert host.wait(POLLS) == Code.TIMEOUT
    assert host.begin() == DRAINING


def test_counters(host, library):
    host.loaded()
    assert host.run(ctypes.byref(a_run()), POLLS) == Code.OK
    host.model.cycles = 0x1_2345_6789
    counters = Counters()
    assert library.counters_size() == ctypes.sizeof(Counters)
    host.counters(ctypes.byref(counters))
    assert counters.cycles == 0x1_2345_6789
    values = [getattr(counters, name) for name in COUNTERS]
    assert values == [host.model.values[name.upper()] for name in COUNTERS]
    assert len(set(values)) == len(COUNTERS)


@pytest.mark.parametrize("before", range(8))
def test_cycles_while_the_low_half_overflows(host, before):
    """Read while running: a value that the counter had in between."""
    host.loaded()
    host.model.work = 1000
    assert host.begin() == Code.OK
    host.model.cycles = start = (1 << 32) - before
    counters = Counters()
    host.counters(ctypes.byref(counters))
    assert start <= counters.cycles <= host.model.cycles


def test_barriers_stand_where_memory_and_registers_meet(host):
    """Before each command that reads memory; between the end of one and what follows."""
    host.loaded()
    assert host.load(PROGRAM) == Code.OK
    assert host.wait(POLLS) == Code.OK
    assert host.run(ctypes.byref(a_run()), POLLS) == Code.OK
    given = [i for i, entry in enumerate(host.log) if entry[:2] == ("write", "COMMAND")]
    assert [host.log[i - 1] for i in given] == [("barrier",)] * 2
    ends = [*(host.log[i - 1] for i in given[1:]), host.log[-1]]
    assert ends == [("barrier",)] * 2
    assert host.log.count(("barrier",)) == 4


def test_every_code_has_its_text(library):
    results = (NOT_DONE, BUSY, DRAINING, WRONG_IDENTITY, WRONG_VERSION, WRONG_CONFIG)
    texts = [library.penstock_code_text(code) for code in (*Code, *results)]
    unknown = {library.penstock_code_text(code) for code in (-1, len(Code), 255, 262, 2**31 - 1)}
    assert unknown == {b"unknown code"}
    assert len({*texts, *unknown}) == len(texts) + 1
    assert all(texts)


def test_short_enumerations_do_not_mix_up_codes(software):
    """Compilers for ARM without an operating system store an enum in as few bytes as it needs."""
    text = "#include \"penstock.h\"\nint main(void) { return penstock_code_text(256)[0] != 'n'; }\n"
    (software / "short.c").write_text(text)
    tool(software, *C99, "-fshort-enums", "short.c", "penstock.c", "-o", "short")
    tool(software, "./short")


def test_registers_are_memory_words_by_default(software):
    """Without macros of the user: plain volatile accesses at base + offset."""
    tool(software, *C99, "-O2", "-shared", "-fPIC", "penstock.c", "-o", "plain.so")
    plain = ctypes.CDLL(str(software / "plain.so"))
    words = (ctypes.c_uint32 * len(REGISTERS))(IDENTITY, VERSION, TINY.hash)
    device = Device()
    base = ctypes.c_size_t(ctypes.addressof(words))
    assert plain.penstock_open(ctypes.byref(device), base) == Code.OK
    assert plain.penstock_load(ctypes.byref(device), 0x1240) == Code.OK
    assert words[ADDRESS["PROGRAM"] // 4] == 0x1240
    assert words[ADDRESS["COMMAND"] // 4] == Command.LOAD
    words[ADDRESS["STATUS"] // 4] = 1 << 12 | Code.BAD_CRC
    assert plain.penstock_wait(ctypes.byref(device), 1) == Code.BAD_CRC
