"""Import of quantized ONNX models: integers as they are, onnxruntime's results within one unit."""

import dataclasses
import logging
import re

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch")

import import_cases as cases  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from onnxruntime.quantization import (  # noqa: E402
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from penstock import cli  # noqa: E402
from penstock.compiler import compile_network  # noqa: E402
from penstock.config import preset  # noqa: E402
from penstock.errors import PenstockError  # noqa: E402
from penstock.gold.convolution import convolution  # noqa: E402
from penstock.gold.digits import load_digits_images  # noqa: E402
from penstock.gold.import_onnx import import_onnx  # noqa: E402
from penstock.gold.requantize import embed_channels, requantize  # noqa: E402
from penstock.gold.runner import run  # noqa: E402
from penstock.network import INPUT, Convolution, Network, Shape  # noqa: E402
from penstock.registers import Code  # noqa: E402
from penstock.sim.simulate import Job, compare, simulate_many  # noqa: E402

SYMMETRIC = {
    "quant_format": QuantFormat.QDQ,
    "per_channel": True,
    "weight_type": QuantType.QInt8,
    "activation_type": QuantType.QInt8,
    "extra_options": {"ActivationSymmetric": True},
}
TENSORS = {
    "conv1": "/Relu",
    "layer1.0.conv1": "/layer1/layer1.0/Relu",
    "layer1.0.conv2": "/layer1/layer1.0/conv2/Conv",
    "layer1.0.add": "/layer1/layer1.0/Relu_1",
    "layer1.1.conv1": "/layer1/layer1.1/Relu",
    "layer1.1.conv2": "/layer1/layer1.1/conv2/Conv",
    "layer1.1.add": "/layer1/layer1.1/Relu_1",
    "layer2.0.shortcut.0": "/layer2/layer2.0/shortcut/shortcut.0/Conv",
    "layer2.0.conv1": "/layer2/layer2.0/Relu",
    "layer2.0.conv2": "/layer2/layer2.0/conv2/Conv",
    "layer2.0.add": "/layer2/layer2.0/Relu_1",
    "pool": "/AveragePool",
    "linear": "logits",
}
"""Layers of the imported ResNet in order, and the model's nodes that give the same integers."""


class Images(CalibrationDataReader):
    """The first training digits, one after the other."""

    def __init__(self):
        images, _ = load_digits_images("train")
        self.inputs = iter([{"image": real(image[None])} for image in images[:200]])

    def get_next(self):
        return next(self.inputs, None)


def real(images: np.ndarray, scale: float = 1 / 255) -> np.ndarray:
    return images.astype(np.float32) * np.float32(scale)


def trained():
    """A ResNet that knows the digits, trained for some seconds."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = cases.ResNet(1).train()
    images, labels = load_digits_images("train")
    x, y = torch.from_numpy(real(images)), torch.from_numpy(labels)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(6):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return model.eval()


def quantized(source, path, **options):
    logging.disable(logging.WARNING)  # quantize_static advises preprocessing
    quantize_static(
        source,
        path,
        Images(),
        **SYMMETRIC | options,
    )
    logging.disable(logging.NOTSET)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with float.onnx and its quantized form, symmetric and per channel, int8.onnx."""
    folder = tmp_path_factory.mktemp("models")
    names = {"input_names": ["image"], "output_names": ["logits"]}
    source = cases.export(trained(), (1, 16, 16), folder / "float.onnx", **names)
    quantized(source, folder / "int8.onnx")
    return folder


@pytest.fixture(scope="module")
def network(folder) -> Network:
    return import_onnx(folder / "int8.onnx")


@pytest.fixture(scope="module")
def reference(folder, network):
    """(held-out digits as integers, onnxruntime's integers by node, its logits).

    Its graph optimizations are off: with them, kernels on x86 processors without VNNI saturate sums
    of products at 16 bits, and the model no longer computes what it says.
    """
    images, _ = load_digits_images("test")
    scale = np.float32(network.input_scale)
    integers = np.clip(np.rint(real(images) / scale), -128, 127).astype(np.int8)
    model = onnx.load(folder / "int8.onnx")
    constants = {name for each in model.graph.node if not each.input for name in each.output}
    nodes = [
        node
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in constants
    ]
    outputs = [
        onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.INT8, None)
        for node in nodes
    ]
    model.graph.output.extend(outputs)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    runs = [session.run(None, {"image": real(each[None], scale)}) for each in integers]
    logits, *tensors = (np.concatenate(each) for each in zip(*runs, strict=True))
    named = {
        re.sub("(_output_0)?_QuantizeLinear$", "", node.name): tensor
        for node, tensor in zip(nodes, tensors, strict=True)
    }
    np.testing.assert_array_equal(named["image"], integers)
    return integers, named, logits


def initializers(path) -> dict[str, np.ndarray]:
    graph = onnx.load(path).graph
    return {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}


def test_weights_and_scales_are_kept(folder, network):
    constants = initializers(folder / "int8.onnx")
    stored = [value for value in constants.values() if value.dtype == np.int8 and value.ndim > 1]
    ours = [
        layer.weights for layer in network.layers if layer.name in TENSORS and has_weights(layer)
    ]
    assert len(ours) == len(stored) == 9
    for weights in ours:
        assert (
            sum(
                np.array_equal(weights.reshape(each.shape), each)
                for each in stored
                if each.size == weights.size
            )
            == 1
        )
    assert network.input == Shape(channels=1, height=16, width=16, signed=True)
    assert network.input_scale == constants["image_scale"]


def has_weights(layer) -> bool:
    return isinstance(layer, Convolution) and not layer.name.endswith("add")


def test_multipliers_are_the_scales_rounded(folder, network):
    """M = s_w * s_x / s_y, within half a unit of 16 bits."""
    constants = initializers(folder / "int8.onnx")
    layer = next(layer for layer in network.layers if layer.name == "layer2.0.conv2")
    weights = next(
        name
        for name, value in constants.items()
        if value.dtype == np.int8 and np.array_equal(value, layer.weights)
    )
    scale = constants[weights.replace("_quantized", "_scale")].astype(np.float64)
    source = constants["/layer2/layer2.0/Relu_output_0_scale"].astype(np.float64)
    out = constants["/layer2/layer2.0/conv2/Conv_output_0_scale"].astype(np.float64)
    exact = scale * source / out * 2.0**layer.shift
    assert np.abs(layer.multipliers - exact).max() <= 0.5
    assert np.abs(layer.multipliers).max() > 2**14


def test_layers(network):
    assert [layer.name for layer in network.layers] == [*TENSORS, "linear_output"]


@pytest.mark.parametrize("name", TENSORS)
def test_each_layer_is_within_one_unit_of_onnxruntime(name, network, reference):
    """Fed the same integers: nearly all are equal, none is further off than one unit."""
    _, tensors, _ = reference
    layer = next(each for each in network.layers if each.name == name)
    nodes = TENSORS | {INPUT: "image"}
    sources = [layer.source]
    if getattr(layer, "residual", None):
        sources.append(layer.residual.source)
    inputs = {source: tensors[nodes[source]] for source in sources}
    expected = tensors[TENSORS[name]].astype(int)
    got = alone(network, layer, inputs).astype(int).reshape(expected.shape)
    off = np.abs(got - expected)
    print(f"{name}: {(off != 0).mean():.3%} of {off.size:,} values differ, by {off.max()} at most")
    assert off.max() <= 1
    # A mean of 4x4 pixels is a tie once in 16 times; onnxruntime rounds ties to even, half go up.
    assert (off != 0).mean() < (0.05 if name == "pool" else 0.01)
    assert np.abs(expected).max() > 20


def alone(network: Network, layer, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """What one layer computes of given inputs (N, C, H, W)."""
    shapes = network.shapes()
    first = inputs[layer.source]
    first = first.reshape(len(first), *_sizes(shapes[layer.source]))
    first = first.astype(np.int8 if shapes[layer.source].signed else np.uint8)
    if len(inputs) == 1:
        single = dataclasses.replace(layer, source=INPUT)
        small = Network(name="one", input=shapes[layer.source], input_scale=1.0, layers=(single,))
        return run(small, first).output
    other = inputs[layer.residual.source]
    other = other.astype(np.int8 if shapes[layer.residual.source].signed else np.uint8)
    return requantize(
        convolution(first, layer.weights, layer.stride, layer.padding),
        layer.multipliers,
        layer.bias,
        layer.shift,
        layer.low,
        layer.high,
        embed_channels(other, len(layer.weights), layer.residual.stride),
        layer.residual.multiplier,
    )


def _sizes(shape: Shape) -> tuple[int, int, int]:
    return shape.channels, shape.height, shape.width


def test_the_whole_network_classifies_as_onnxruntime(network, reference):
    integers, _, logits = reference
    _, labels = load_digits_images("test")
    classes = run(network, integers).classes
    equal = classes == logits.argmax(1)
    print(f"{equal.sum()} of {len(equal)} images classified as onnxruntime does")
    assert equal.mean() >= 0.99
    assert (classes == labels).mean() > 0.85


def test_the_hardware_computes_the_same_integers(network, reference):
    integers, _, _ = reference
    program = compile_network(network, preset("tiny"))
    job = Job(program=program, images=integers[:2], gating=True)
    (done,) = simulate_many([job], seed=1)
    assert done.code == Code.OK
    comparisons = compare(done, program, job.images, True)
    assert [each for each in comparisons if each.mismatches] == []
    assert {layer.name for layer in network.layers} <= {each.layer for each in comparisons}


def test_one_scale_for_all_classes_needs_no_copy(folder, tmp_path, network):
    """Weights of one scale: the classifier's 32 bits come out, not its 8."""
    path = quantized(folder / "float.onnx", tmp_path / "tensor.onnx", per_channel=False)
    last = import_onnx(path).layers[-1]
    assert (last.name, last.source) == ("linear", "pool")
    stored = initializers(path)
    np.testing.assert_array_equal(last.weights, stored["linear.weight_quantized"])
    np.testing.assert_array_equal(last.bias, stored["linear.bias_quantized"])
    assert network.layers[-1].source == "linear"
    np.testing.assert_array_equal(network.layers[-1].weights, np.eye(10, dtype=np.int8))


def as_qonnx(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with QONNX's Quant in place of QuantizeLinear and DequantizeLinear."""
    graph = model.graph
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    extra = {"zero": np.float32(0), "bits": np.float32(8)}
    nodes, sources = [], {}

    def quant(source, scale, output, narrow):
        return onnx.helper.make_node(
            "Quant",
            [source, scale, "zero", "bits"],
            [output],
            domain="qonnx.custom_op.general",
            signed=1,
            narrow=narrow,
            rounding_mode="ROUND",
        )

    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            sources[node.output[0]] = node.input[0]
        elif node.op_type == "DequantizeLinear" and node.input[0] in sources:
            nodes.append(quant(sources[node.input[0]], node.input[1], node.output[0], 0))
        elif node.op_type == "DequantizeLinear":
            integers, scale = constants[node.input[0]], constants[node.input[1]]
            column = scale.reshape(-1, *[1] * (integers.ndim - 1)) if scale.size > 1 else scale
            values = integers * column
            if integers.dtype == np.int32:
                extra[node.output[0]] = values.astype(np.float64)
                continue
            extra[f"{node.output[0]}_float"] = values.astype(np.float32)
            extra[f"{node.output[0]}_scale"] = column
            name = node.output[0]
            nodes.append(quant(f"{name}_float", f"{name}_scale", name, 1))
        else:
            nodes.append(node)
    kept = {name: value for name, value in constants.items() if value.dtype != np.int32}
    return cases.onnx_model(
        nodes,
        {"image": (1, 1, 16, 16)},
        {"logits": (1, 10)},
        kept | extra,
        **{"qonnx.custom_op.general": 1},
    )


def test_qonnx_gives_the_same_network(folder, network, tmp_path):
    model = as_qonnx(onnx.load(folder / "int8.onnx"))
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in model.graph.node}
    onnx.save(model, tmp_path / "quant.onnx")
    imported = import_onnx(tmp_path / "quant.onnx")
    assert len(imported.layers) == len(network.layers)
    for ours, theirs in zip(network.layers, imported.layers, strict=True):
        for field, value in vars(ours).items():
            if field not in ("name", "source", "residual"):
                np.testing.assert_array_equal(value, getattr(theirs, field), err_msg=field)


def test_the_command_needs_no_images(folder, tmp_path, capsys):
    program = tmp_path / "int8.bin"
    arguments = ["compile", str(folder / "int8.onnx"), "--config", "tiny", "-o", str(program)]
    assert cli.main(arguments) == 0
    assert program.exists()
    np.save(tmp_path / "images.npy", cases.images(2, 1, 16))
    program.unlink()
    capsys.readouterr()
    assert cli.main([*arguments, "--calibrate", str(tmp_path / "images.npy")]) == cli.BAD_INPUT
    assert capsys.readouterr().err == (
        f"penstock: error: model {folder / 'int8.onnx'}: must be a float model to be calibrated or "
        "take an input scale, and is quantized\n"
    )
    assert not program.exists()


@pytest.mark.parametrize(
    "options, text",
    [
        (
            {"activation_type": QuantType.QUInt8, "extra_options": {}},
            (
                r"tensor /layer1/layer1\.0/conv2/Conv_output_0: zero point must be 0, not \d+ "
                r"\(onnxruntime's quantize_static: activation_type=QuantType\.QInt8 and "
                r"extra_options=\{'ActivationSymmetric': True\}\)"
            ),
        ),
        (
            {"op_types_to_quantize": ["Conv"]},
            (
                r"layer layer2\.0\.add: what it gives must be quantized, as the others are, and is "
                r"not: no QuantizeLinear or Quant behind it"
            ),
        ),
        (
            {"quant_format": QuantFormat.QOperator},
            (
                r"layer .*: operator must be one of .*, not QLinearConv \(write the model with "
                r"QuantizeLinear and DequantizeLinear: quant_format=QuantFormat\.QDQ\)"
            ),
        ),
    ],
)
def test_other_quantizations_are_refused_by_name(folder, options, text, tmp_path):
    path = quantized(folder / "float.onnx", tmp_path / "other.onnx", **options)
    with pytest.raises(PenstockError) as caught:
        import_onnx(path)
    assert re.fullmatch(text, str(caught.value)), caught.value


@pytest.mark.parametrize(
    "name, change, text",
    [
        (
            "linear.weight_zero_point",
            3,
            (
                "tensor linear.weight_quantized: zero point must be 0, not 3 (onnxruntime's "
                "quantize_static: weight_type=QuantType.QInt8)"
            ),
        ),
        ("image_scale", -1, "tensor image: must have one scale, positive, not -1.0"),
    ],
)
def test_other_constants_are_refused_by_name(folder, name, change, text, tmp_path):
    model = onnx.load(folder / "int8.onnx")
    (constant,) = (each for each in model.graph.initializer if each.name == name)
    values = onnx.numpy_helper.to_array(constant)
    constant.CopyFrom(onnx.numpy_helper.from_array(np.full_like(values, change), name))
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(PenstockError) as caught:
        import_onnx(tmp_path / "other.onnx")
    assert str(caught.value) == text


def edited(model: onnx.ModelProto, edit: str) -> onnx.ModelProto:
    """A quantized model with one mistake."""
    nodes = {node.name: node for node in model.graph.node}
    if edit == "input":  # the first convolution reads the image as it comes, a float
        convolutions = [node for node in nodes.values() if node.op_type == "Conv"]
        (conv,) = (node for node in convolutions if "image" in node.input[0])
        conv.input[0] = "image"
        for name in ("image_QuantizeLinear", "image_DequantizeLinear"):
            model.graph.node.remove(nodes[name])
    elif edit == "scale":  # the image is dequantized by another tensor's scale
        nodes["image_DequantizeLinear"].input[1] = "logits_scale"
    elif edit == "weights":  # the classifier's are floats
        (gemm,) = (node for node in nodes.values() if node.op_type == "Gemm")
        gemm.input[1] = "floats"
        floats = np.ones((10, 16), np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(floats, "floats"))
    elif edit == "rounding":
        model = as_qonnx(model)
        quants = [node for node in model.graph.node if node.op_type == "Quant"]
        weights = next(node for node in quants if "_float" in node.input[0])
        attribute = next(each for each in weights.attribute if each.name == "rounding_mode")
        attribute.s = b"FLOOR"
    return model


@pytest.mark.parametrize(
    "edit, text",
    [
        (
            "input",
            (
                "network input: must be quantized, as the others are, and is not: no "
                "QuantizeLinear or Quant behind it"
            ),
        ),
        ("scale", "tensor image_QuantizeLinear_Output: must come from a QuantizeLinear of the "),
        ("weights", "weights must be quantized, as other tensors are, and are not: no Dequantize"),
        ("rounding", "rounding_mode must be ROUND, not FLOOR"),
    ],
)
def test_mistakes_are_refused(folder, edit, text, tmp_path):
    onnx.save(edited(onnx.load(folder / "int8.onnx"), edit), tmp_path / "edited.onnx")
    with pytest.raises(PenstockError, match=text):
        import_onnx(tmp_path / "edited.onnx")
