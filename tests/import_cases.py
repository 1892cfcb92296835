"""Networks of users' kinds, in PyTorch and ONNX, for the tests of their import."""

import contextlib
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import nn

from penstock.gold.torch_layers import ChannelGatedConv2d


class Lambda(nn.Module):
    """A function as a module, as many ResNets for CIFAR have one for their shortcut."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def option_a(surplus: int):
    """The shortcut without weights: every second pixel, zero channels on both sides."""
    return Lambda(lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, surplus, surplus), "constant", 0))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; x (N, I, H, W) -> (N, O, H', W')."""

    def __init__(self, inputs, outputs, stride=1, shortcut=None, conv2=None):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv2 or nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut or nn.Sequential()

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class ResNet(nn.Module):
    """One block of each shortcut: the input, option A, a 1x1 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(BasicBlock(4, 4), BasicBlock(4, 8, 2, option_a(2)))
        pointwise = nn.Conv2d(8, 16, 1, stride=2, bias=False)
        self.layer2 = nn.Sequential(
            BasicBlock(8, 16, 2, nn.Sequential(pointwise, nn.BatchNorm2d(16)))
        )
        self.linear = nn.Linear(16, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer2(self.layer1(x))
        x = F.avg_pool2d(x, x.size(3))
        return self.linear(x.view(x.size(0), -1))


class PreActivation(nn.Module):
    """Batch norm and ReLU before the convolution, and the sum goes on as it is."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        x = self.stem(x)
        return self.conv(F.relu(self.bn(x))) + x


class ReluBeforeAdd(nn.Module):
    """The convolution is rectified before the shortcut is added."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.conv = nn.Conv2d(4, 8, 3, padding=1, stride=2)

    def forward(self, x):
        x = F.relu(self.stem(x))
        return option_a(2)(x) + F.relu(self.conv(x))


class ReluBeforeSignedAdd(nn.Module):
    """The same with a shortcut that has negative values, made before what it is added to."""

    def __init__(self):
        super().__init__()
        self.shortcut = nn.Conv2d(2, 4, 1)
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        shortcut = self.shortcut(x)
        return F.relu(self.conv2(F.relu(self.conv1(x)))) + shortcut


class Scaled(nn.Module):
    """The image is scaled by a number, and padded on two sides only."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 6, 3, stride=2)

    def forward(self, x):
        return F.relu(self.conv(F.pad(x / 0.25, (0, 1, 0, 1))))


class Twice(nn.Module):
    """What is between convolution and ReLU is read twice."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        x = self.conv1(x)
        return F.relu(x) + self.conv2(x)


class Mean(nn.Module):
    """Global average pooling by a mean."""

    def forward(self, x):
        return x.mean([2, 3])


def normed(inputs, outputs, **options) -> list[nn.Module]:
    """Convolution, batch norm, ReLU."""
    options = {"padding": 1, "bias": False} | options
    return [nn.Conv2d(inputs, outputs, 3, **options), nn.BatchNorm2d(outputs), nn.ReLU()]


ZOO = {
    "resnet": lambda: ResNet(2),
    "pre-activation": PreActivation,
    "relu-before-add": ReluBeforeAdd,
    "relu-before-signed-add": ReluBeforeSignedAdd,
    "scaled": Scaled,
    "twice": Twice,
    "max-pool": lambda: nn.Sequential(
        *normed(2, 4), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 6, 1), nn.AvgPool2d(2), nn.Flatten(2)
    )[:-1],
    "head": lambda: nn.Sequential(
        *normed(2, 4, bias=True, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(4, 8),
        nn.ReLU(),
        nn.Linear(8, 3, bias=False),
    ),
    "mean": lambda: nn.Sequential(*normed(2, 4, padding="same"), Mean(), nn.Linear(4, 3)),
    "subsampled": lambda: BasicBlock(2, 2, 2, nn.MaxPool2d(1, 2)),
    "no-linear": lambda: nn.Sequential(*normed(2, 4), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()),
}
"""Modules for images of 2x8x8 pixels."""


def gated_zoo() -> nn.Module:
    """A network with a gated convolution that carries a shortcut; images of 2 channels."""
    gated = ChannelGatedConv2d(4, 4, 3, groups=2, threshold_target=0.3)
    return nn.Sequential(*normed(2, 4), BasicBlock(4, 4, conv2=gated), Mean(), nn.Linear(4, 3))


def made(make, seed: int = 0) -> nn.Module:
    """A module in evaluation mode, its batch norms with odd statistics and gains of both signs."""
    torch.manual_seed(seed)
    model = make()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.3, 2)
            if module.affine:
                module.weight.data.normal_(0, 1)
                module.bias.data.normal_(0.3, 0.3)
    return model.eval()


def images(count: int, channels: int, size: int, seed: int = 0) -> np.ndarray:
    """(count, channels, size, size) uint8 at random."""
    return np.random.default_rng(seed).integers(0, 256, (count, channels, size, size), np.uint8)


def export(model: nn.Module, shape, path: Path, *, dynamo: bool = False, **options) -> Path:
    """Write a module as ONNX, for one image of a shape (C, H, W)."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(None):
        warnings.simplefilter("ignore")  # of what the exporter will do one day
        torch.onnx.export(model, (torch.zeros(1, *shape),), path, dynamo=dynamo, **options)
    return path


KEEP_NORMS = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
"""Options of the exporter that leave batch norms as they are."""


def onnx_model(nodes, inputs: dict, outputs: dict, constants: dict, opset: int = 17, **domains):
    """An ONNX model of nodes; shapes by names of inputs and outputs; arrays by names."""
    floating = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [
            onnx.helper.make_tensor_value_info(name, floating, shape)
            for name, shape in inputs.items()
        ],
        [
            onnx.helper.make_tensor_value_info(name, floating, shape)
            for name, shape in outputs.items()
        ],
        [
            onnx.numpy_helper.from_array(np.asarray(value), name)
            for name, value in constants.items()
        ],
    )
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in domains.items()]
    opsets = [onnx.helper.make_opsetid("", opset), *imports]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
