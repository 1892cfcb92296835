"""What cannot be imported: one line that names the thing, the rule and what came; exit code 2."""

import subprocess
import sys
from collections import OrderedDict

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

import import_cases as cases  # noqa: E402
from torch import nn  # noqa: E402

from penstock import cli  # noqa: E402
from penstock.compiler import compile_network  # noqa: E402
from penstock.config import preset  # noqa: E402
from penstock.errors import PenstockError  # noqa: E402
from penstock.gold.import_onnx import import_onnx  # noqa: E402
from penstock.gold.import_torch import import_module  # noqa: E402
from penstock.gold.torch_layers import ChannelGatedConv2d  # noqa: E402
from penstock.images import calibration_images  # noqa: E402

IMAGES = cases.images(2, 2, 8)
SUPPORTED = (
    "must be one of convolution, batch norm, ReLU, addition, max and average pooling, flatten, "
    "linear, and as shortcuts slices and zero padding"
)


class Call(nn.Module):
    """A convolution named ``conv``, and a function of its output and the image."""

    def __init__(self, function, **options):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, **{"padding": 1} | options)
        self.function = function

    def forward(self, x):
        return self.function(self.conv(x), x)


def convolution(**options):
    return lambda: Call(lambda y, x: y, **options)


def after(function):
    return lambda: Call(function)


BOTH = {
    "dilation": (
        convolution(dilation=2, padding=2),
        "layer conv: dilation must be 1, not (2, 2)",
    ),
    "kernel": (
        lambda: nn.Sequential(OrderedDict(conv=nn.Conv2d(2, 4, (3, 1)))),
        "layer conv: kernel must be 1x1 or 3x3, not 3x1",
    ),
    "groups": (convolution(groups=2), "layer conv: groups must be 1, those of a gate aside, not 2"),
    "stride": (
        convolution(stride=(1, 2)),
        "layer conv: stride must be the same in both directions, not (1, 2)",
    ),
    "stride 3": (convolution(stride=3), "layer conv: stride must be an integer in 1..2, not 3"),
    "flatten": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(144, 3)),
        (
            "layer {flatten}: only 1x1 maps can be flattened, as global average pooling gives "
            "them, and only to their channels, not 4x6x6 to ({batch}, 144)"
        ),
    ),
    "slice": (
        after(lambda y, x: y[:, :, 1:]),
        (
            "layer {slice}: a slice must take every n-th row or column, from the first to the end, "
            "not 1:{end}:1 of axis 2"
        ),
    ),
    "option A on one side": (
        after(lambda y, x: y + torch.nn.functional.pad(x, (0, 0, 0, 0, 0, 2))),
        (
            "layer {add}: a shortcut must be 4x8x8, with as many zero channels before as behind "
            "the others, not 4x8x8, 0 before and 2 behind"
        ),
    ),
    "size of a shortcut": (
        after(lambda y, x: y[:, :, ::2, ::2] + y.mean((2, 3), keepdim=True)),
        (
            "layer {add}: a shortcut must be 4x1x1, with as many zero channels before as behind "
            "the others, not 4x4x4, 0 before and 0 behind"
        ),
    ),
    "average without its padding": (
        lambda: nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False)),
        "layer {pool}: an average must count its padding, not have count_include_pad = 0",
    ),
}
"""Name -> (what makes a module, text of the refusal with what the two sources call things)."""


def message(call, *arguments, **options) -> str:
    with pytest.raises(PenstockError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", BOTH)
def test_both_sources_refuse(name, tmp_path):
    make, text = BOTH[name]
    model = cases.made(make)
    names = {"flatten": "1", "slice": "slice", "add": "add", "pool": "0"}
    end = 2**63 - 1
    assert message(import_module, model, IMAGES) == text.format(**names, batch=2, end=end)
    path = cases.export(model, (2, 8, 8), tmp_path / "n.onnx")
    names = {"flatten": "1.flatten", "slice": "slice", "add": "add", "pool": "0"}
    assert message(import_onnx, path, IMAGES) == text.format(**names, batch=1, end=end)


@pytest.mark.parametrize(
    "make, text",
    [
        (
            after(lambda y, x: torch.sigmoid(y)),
            (
                f"layer sigmoid: operator {SUPPORTED}, not aten.sigmoid.default (the hardware's "
                "only activation is ReLU)"
            ),
        ),
        (
            lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU6()),
            (
                f"layer 1: operator {SUPPORTED}, not aten.hardtanh.default (the hardware's only "
                "activation is ReLU)"
            ),
        ),
        (
            lambda: nn.Sequential(nn.ConvTranspose2d(2, 4, 3)),
            (
                f"layer 0: operator {SUPPORTED}, not aten.conv_transpose2d.input (the hardware "
                "has no upsampling)"
            ),
        ),
        (
            after(lambda y, x: torch.cat([y, x], 1)),
            (
                f"layer cat: operator {SUPPORTED}, not aten.cat.default (the hardware's only "
                "joining of maps is addition)"
            ),
        ),
        (
            lambda: cases.Lambda(lambda x: x - 0.5),
            (
                f"layer sub: operator {SUPPORTED}, not aten.sub.Tensor (padding must be the "
                "image's 0, so train without a mean; gates come from PyTorch only)"
            ),
        ),
        (after(lambda y, x: torch.fft.fft(y).real), None),
        (
            after(lambda y, x: 2 * y),
            "layer scale: only the image may be multiplied with a number, not 2",
        ),
        (
            after(lambda y, x: y if x.sum() > 0 else -y),
            "module Call: must be one that torch.export takes, for images of 2x8x8 (",
        ),
        (
            lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
            "layer 1: batch norm must keep running statistics",
        ),
    ],
)
def test_modules_that_are_refused(make, text):
    got = message(import_module, cases.made(make), IMAGES)
    if text is None:
        assert got == f"layer fft_fft: operator {SUPPORTED}, not aten.fft_fft.default"
    else:
        assert got == text or (text.endswith("(") and got.startswith(text))


def test_a_gate_that_would_be_lost_is_refused():
    model = cases.Lambda(lambda x: x)
    model.gated = ChannelGatedConv2d(2, 4, 3, groups=2)
    assert message(import_module, model, IMAGES) == (
        "weights gated.weight: a gated convolution must be run, and is not"
    )


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path):
    model = cases.made(convolution())
    model.conv.bias.data[1] = float("nan")
    path = cases.export(model, (2, 8, 8), tmp_path / "n.onnx")
    text = "weights conv.bias: must be finite numbers, not NaN or infinite"
    assert message(import_module, model, IMAGES) == text
    assert message(import_onnx, path, IMAGES) == text


@pytest.mark.parametrize(
    "images, came",
    [
        (IMAGES.astype(np.float32), "float32 (2, 2, 8, 8)"),
        (IMAGES[0], "uint8 (2, 8, 8)"),
        (IMAGES[:0], "uint8 (0, 2, 8, 8)"),
    ],
)
def test_images_that_cannot_calibrate_are_refused(images, came):
    assert message(import_module, cases.made(convolution()), images) == (
        f"calibration images: must be uint8 (N, C, H, W) with N of 1 or more, not {came}"
    )


def test_a_kernel_of_5x5_is_imported_and_refused_by_the_compiler():
    """The golden model computes it; which kernels there are is the hardware's rule."""
    model = cases.made(lambda: nn.Sequential(nn.Conv2d(2, 4, 5, padding=2)))
    network = import_module(model, IMAGES)
    assert message(compile_network, network, preset("tiny")) == (
        "layer 0: kernel must be 1x1 or 3x3, not 5x5"
    )


@pytest.fixture
def refused(tmp_path, capsys):
    """Call `penstock compile` with a model: one line on standard error, 2, and nothing written."""

    def call(model, *options, images=IMAGES) -> str:
        path, calibrate = tmp_path / "model.onnx", tmp_path / "images.npz"
        if isinstance(model, onnx.ModelProto):
            onnx.save(model, path)
        np.savez(calibrate, images=images)
        before = sorted(tmp_path.iterdir())
        arguments = ["compile", path, "--config", "tiny", "-o", tmp_path / "program.bin", *options]
        if images is not None:
            arguments += ["--calibrate", calibrate]
        capsys.readouterr()
        assert cli.main([str(each) for each in arguments]) == cli.BAD_INPUT
        captured = capsys.readouterr()
        assert captured.out == ""
        assert sorted(tmp_path.iterdir()) == before
        *progress, line = captured.err.splitlines()
        assert progress in ([], ["calibrating on 2 images ..."])
        return line.removeprefix("penstock: error: ").replace(str(path), "MODEL")

    return call


def node_model(op_type: str, *, batch=1, weights=(4, 2, 3, 3), **attributes) -> onnx.ModelProto:
    """An ONNX model of one node named ``here`` with weights."""
    node = onnx.helper.make_node(op_type, ["x", "w"], ["y"], name="here", **attributes)
    constants = {"w": np.ones(weights, np.float32)}
    return cases.onnx_model([node], {"x": (batch, 2, 8, 8)}, {"y": ("N", "O", "H", "W")}, constants)


@pytest.mark.parametrize(
    "model, text",
    [
        (node_model("Conv", dilations=[2, 2]), "layer here: dilation must be 1, not (2, 2)"),
        (
            node_model("Conv", weights=(4, 2, 5, 5)),
            "layer here: kernel must be 1x1 or 3x3, not 5x5",
        ),
        (
            node_model("ConvTranspose", weights=(2, 4, 3, 3)),
            f"layer here: operator {SUPPORTED}, not ConvTranspose (the hardware has no upsampling)",
        ),
        (
            node_model("Conv", batch="N"),
            (
                "input x: batch must be a number, not N (export without dynamic axes, or fix it: "
                "python -m onnxruntime.tools.make_dynamic_shape_fixed --dim_param N --dim_value "
                "SIZE MODEL FIXED)"
            ),
        ),
        (
            node_model("PRelu", weights=(2, 1, 1)),
            f"layer here: operator {SUPPORTED}, not PRelu (the hardware's only activation is ReLU)",
        ),
        (
            node_model("Add", weights=(8, 8)),
            (
                "layer here: a constant that is added must have one value for each channel, "
                "not shape (8, 8)"
            ),
        ),
    ],
)
def test_the_command_refuses(model, text, refused):
    assert refused(model) == text


def test_the_command_refuses_what_is_no_model(refused, tmp_path):
    assert refused(None) == "model MODEL: no such file"
    (tmp_path / "model.onnx").write_bytes(b"nothing of the kind")
    assert refused(None).startswith("model MODEL: must be a whole ONNX model (")


def test_calibration_is_for_float_models(refused, tmp_path, capsys):
    model = node_model("Conv")
    assert refused(model, images=None) == (
        "model MODEL: a float model needs images to calibrate it (--calibrate IMAGES.npz)"
    )
    assert refused(model, images=cases.images(2, 3, 8)) == (
        "calibration images: must be 2x8x8 as the model's input, not 3x8x8"
    )
    output = tmp_path / "digits.bin"
    arguments = ["compile", "digits", "--config", "ulx3s-85f", "-o", output, "--input-scale", 1]
    assert cli.main([str(each) for each in arguments]) == cli.BAD_INPUT
    assert capsys.readouterr().err == (
        "penstock: error: network digits: must be an ONNX model (.onnx) to be calibrated or take "
        "an input scale\n"
    )
    assert not output.exists()


def test_without_the_package_onnx_one_line_says_so(refused, monkeypatch):
    model = node_model("Conv")
    refused(model, images=None)  # writes the model
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert refused(None, images=None) == (
        "model: needs the package onnx, which is not installed: pip install 'penstock[onnx]'"
    )


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_the_input_scale_must_be_positive(scale):
    assert message(import_module, cases.made(convolution()), IMAGES, input_scale=scale) == (
        f"input scale: must be a positive number, not {scale!r}"
    )


@pytest.mark.parametrize(
    "arrays, text",
    [
        ({"a": IMAGES, "b": IMAGES}, "must hold one array, or one named images, not a, b"),
        ({}, "must hold one array, or one named images, not none"),
        (None, "must be a whole .npz or .npy file"),
    ],
)
def test_calibration_files_that_are_refused(arrays, text, tmp_path):
    path = tmp_path / "images.npz"
    if arrays is None:
        path.write_bytes(b"PK\x03\x04 and no more")
    else:
        np.savez(path, **arrays)
    assert message(calibration_images, path) == f"images {path}: {text}"
    assert message(calibration_images, tmp_path / "no.npy") == (
        f"images {tmp_path / 'no.npy'}: no such file"
    )


def test_calibration_files(tmp_path):
    np.save(tmp_path / "one.npy", IMAGES)
    np.savez(tmp_path / "one.npz", anything=IMAGES)
    np.savez(tmp_path / "two.npz", labels=np.zeros(2), images=IMAGES)
    for name in ("one.npy", "one.npz", "two.npz"):
        np.testing.assert_array_equal(calibration_images(tmp_path / name), IMAGES)


def test_onnx_models_need_no_torch(tmp_path):
    """Nor does calibration: the whole command runs without it."""
    onnx.save(node_model("Conv"), tmp_path / "model.onnx")
    np.save(tmp_path / "images.npy", IMAGES)
    code = (
        "import sys\n"
        "from penstock import cli\n"
        "code = cli.main('compile model.onnx --calibrate images.npy --config tiny -o p'.split())\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "p").exists()
