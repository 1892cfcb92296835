"""Channel-gated networks in PyTorch, described layer by layer as a quantized network is."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from penstock.errors import PenstockError
from penstock.gold.digits import CLASSES, SIZE
from penstock.gold.torch_layers import ChannelGatedConv2d
from penstock.network import INPUT

POOL = "pool"
CLASSIFIER = "classifier"


@dataclass(frozen=True, kw_only=True)
class LayerSpec:
    """A convolution with batch norm: ``out = relu(norm(conv(source)) + residual)``."""

    name: str
    source: str
    channels: int  # of the output
    kernel: int = 3
    stride: int = 1
    groups: int = 1  # 1: not gated
    residual: str | None = None  # tensor that is added; option A where channels or sizes differ
    relu: bool = True  # False: the output is signed
    relu_before_add: bool = False  # relu(norm(conv(source))) + residual


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Layers in order; behind the last, global average pooling and a linear classifier."""

    name: str
    input_channels: int
    input_size: int  # height and width, pixels
    classes: int
    layers: tuple[LayerSpec, ...]


def digits_spec() -> ModelSpec:
    """The gated digits network: 16 to 64 channels, 16x16 pixels, 3.02 M MACs, three blocks.

    Their shortcuts: the block's input; its subsampled input among zero channels (option A), added
    to an output that is rectified before; a 1x1 convolution of stride 2 with a signed output.
    """
    gated = {"groups": 4}
    return ModelSpec(
        name="digits",
        input_channels=1,
        input_size=SIZE,
        classes=CLASSES,
        layers=(
            LayerSpec(name="stem", source=INPUT, channels=16),
            LayerSpec(name="block1_conv1", source="stem", channels=16, **gated),
            LayerSpec(
                name="block1_conv2", source="block1_conv1", channels=16, residual="stem", **gated
            ),
            LayerSpec(name="block2_conv1", source="block1_conv2", channels=32, stride=2, **gated),
            LayerSpec(
                name="block2_conv2",
                source="block2_conv1",
                channels=32,
                residual="block1_conv2",
                relu_before_add=True,
                **gated,
            ),
            LayerSpec(name="block3_conv1", source="block2_conv2", channels=64, stride=2, **gated),
            LayerSpec(
                name="block3_shortcut",
                source="block2_conv2",
                channels=64,
                kernel=1,
                stride=2,
                relu=False,
            ),
            LayerSpec(
                name="block3_conv2",
                source="block3_conv1",
                channels=64,
                residual="block3_shortcut",
                **gated,
            ),
        ),
    )


GATED = {"none": (), "conv1": ("conv1",), "both": ("conv1", "conv2")}
"""Which convolutions of a residual block are gated, by the name of the choice."""


def resnet_spec(depth: int = 20, *, gated: str = "both", groups: int = 4) -> ModelSpec:
    """The ResNet for 32x32 images with option-A shortcuts, its blocks' convolutions gated.

    Three stages of ``(depth - 2) / 6`` blocks with 16, 32 and 64 channels; ``gated`` is a key of
    GATED, ``groups`` is p: base paths see 1/p of the inputs. Raises PenstockError where depth is
    not 6n + 2, gated is unknown or groups do not divide 16.
    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.
    """
    if depth < 8 or depth % 6 != 2:
        raise PenstockError(f"depth of a ResNet must be 8, 14, 20 or another 6n + 2, not {depth}")
    if gated not in GATED:
        raise PenstockError(f"gated must be one of {', '.join(GATED)}, not {gated!r}")
    if groups not in (2, 4, 8, 16):
        raise PenstockError(f"groups must be one of 2, 4, 8, 16, not {groups}")
    layers = [LayerSpec(name="stem", source=INPUT, channels=16)]
    for stage, channels in enumerate((16, 32, 64), start=1):
        for block in range(1, (depth - 2) // 6 + 1):
            source = layers[-1].name
            for part, residual in (("conv1", None), ("conv2", source)):
                layers.append(
                    LayerSpec(
                        name=f"stage{stage}_block{block}_{part}",
                        source=layers[-1].name,
                        channels=channels,
                        stride=2 if (stage > 1, block, part) == (True, 1, "conv1") else 1,
                        groups=groups if part in GATED[gated] else 1,
                        residual=residual,
                    )
                )
    return ModelSpec(
        name=f"resnet{depth}", input_channels=3, input_size=32, classes=10, layers=tuple(layers)
    )


def layer_macs(spec: ModelSpec) -> dict[str, tuple[int, int]]:
    """(dense, base) MACs of one image for each convolution and the classifier, by name."""
    channels, size = {INPUT: spec.input_channels}, {INPUT: spec.input_size}
    macs = {}
    for layer in spec.layers:
        channels[layer.name] = layer.channels
        size[layer.name] = -(-size[layer.source] // layer.stride)
        outputs = layer.channels * size[layer.name] ** 2
        dense = outputs * channels[layer.source] * layer.kernel**2
        macs[layer.name] = (dense, dense // layer.groups)
    return macs | {CLASSIFIER: (channels[spec.layers[-1].name] * spec.classes,) * 2}


class GatedNetwork(nn.Module):
    """The float network of a ModelSpec.

    x (N, C, H, W) float in 0..1 -> logits (N, classes). ``threshold_target`` is where the gates'
    thresholds begin and are drawn to, in standard deviations: higher skips more.
    """

    def __init__(self, spec: ModelSpec, threshold_target: float):
        super().__init__()
        self.spec = spec
        self.convolutions = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        channels = {INPUT: spec.input_channels}
        for layer in spec.layers:
            self.convolutions[layer.name] = ChannelGatedConv2d(
                channels[layer.source],
                layer.channels,
                layer.kernel,
                stride=layer.stride,
                groups=layer.groups,
                threshold_target=threshold_target,
            )
            self.norms[layer.name] = nn.BatchNorm2d(layer.channels)
            channels[layer.name] = layer.channels
        self.classifier = nn.Linear(channels[spec.layers[-1].name], spec.classes)

    @property
    def gates(self) -> dict[str, ChannelGatedConv2d]:
        """The gated convolutions by layer name."""
        return {name: each for name, each in self.convolutions.items() if each.groups > 1}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tensors(x)[CLASSIFIER]

    def tensors(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every layer's output by name, the input, the pooled map and the logits too."""
        tensors = {INPUT: x}
        for layer in self.spec.layers:
            out = self.norms[layer.name](self.convolutions[layer.name](tensors[layer.source]))
            if layer.relu_before_add:
                out = F.relu_(out)
            if layer.residual is not None:
                out = out + _shortcut(tensors[layer.residual], out)
            tensors[layer.name] = F.relu_(out) if layer.relu else out
        tensors[POOL] = tensors[self.spec.layers[-1].name].mean(dim=(2, 3), keepdim=True)
        tensors[CLASSIFIER] = self.classifier(tensors[POOL].flatten(1))
        return tensors


def _shortcut(source: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """The residual as it is added to out: option A where its size or channels differ."""
    stride = -(-source.shape[2] // out.shape[2])
    surplus = (out.shape[1] - source.shape[1]) // 2
    return F.pad(source[:, :, ::stride, ::stride], (0, 0, 0, 0, surplus, surplus))
