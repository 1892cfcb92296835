"""The channel-gated convolution in PyTorch, trained with its gate in the loop."""

import torch
import torch.nn.functional as F
from torch import nn

from penstock.errors import PenstockError

SLOPE = 2.0
"""alpha: the step's backward pass is the slope of ``sigmoid(alpha * x)``."""
TARGET_WEIGHT = 1e-4
"""lambda: weight of the thresholds' distance from their target in the loss."""


class Gate(torch.autograd.Function):
    """``y = psum + d * (total - psum)`` with ``d = 1[margin > 0]``, which is 0 at a tie.

    total, psum, margin (N, O, H, W) float -> y of the same shape and dtype, and the part of open
    gates, a scalar without gradient. Backward, d has the slope of ``sigmoid(SLOPE * margin)``.
    One function rather than a step among tensor operations: it keeps fewer maps for the way back.
    Source: Hua et al., NeurIPS 2019, section 3.4.
    """

    @staticmethod
    def forward(
        ctx, total: torch.Tensor, psum: torch.Tensor, margin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        decision = (margin > 0).to(margin.dtype)
        rest = total - psum
        density = decision.mean()
        ctx.save_for_backward(decision, rest, margin)
        ctx.mark_non_differentiable(density)
        return torch.addcmul(psum, decision, rest), density

    @staticmethod
    def backward(ctx, gradient: torch.Tensor, _: torch.Tensor):
        decision, rest, margin = ctx.saved_tensors
        of_total = gradient * decision
        smooth = torch.sigmoid(SLOPE * margin)
        slope = (gradient * rest).mul_(SLOPE).mul_(smooth).mul_(1 - smooth)
        return of_total, gradient - of_total, slope


class ChannelGatedConv2d(nn.Module):
    """A convolution whose outputs see only one group of inputs unless their gate opens.

        psum = conv(x, W*B)                    output group g sees input group g
        d    = 1[ norm(psum) > delta[o] ]      one decision per output activation
        y    = psum + d * conv(x, W*(1-B))

    x (N, I, H, W) float; y (N, O, H', W') of the same dtype; padding ``kernel // 2`` on every side,
    no bias. ``norm`` has no affine parameters; ``delta`` (O,) is learned and begins at
    ``threshold_target``, in standard deviations of the partial sum. With ``groups=1`` every input
    is base: a dense convolution without norm, delta and gate. After a forward pass ``density``
    holds the part of open gates, a scalar tensor. Raises PenstockError where groups does not divide
    the numbers of channels.
    Source: Hua et al., NeurIPS 2019, section 3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        threshold_target: float = 0.0,
    ):
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise PenstockError(
                f"groups must divide {in_channels} input and {out_channels} output channels, "
                f"not {groups}"
            )
        self.kernel = kernel
        self.stride = stride
        self.groups = groups
        self.threshold_target = threshold_target
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.density = torch.ones(())
        if groups > 1:
            self.norm = nn.BatchNorm2d(out_channels, affine=False)
            self.delta = nn.Parameter(torch.full((out_channels,), float(threshold_target)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = F.conv2d(x, self.weight, stride=self.stride, padding=self.kernel // 2)
        if self.groups == 1:
            return total
        psum = self.partial_sum(x)
        margin = self.norm(psum) - self.delta[:, None, None]
        y, self.density = Gate.apply(total, psum, margin)
        return y

    def partial_sum(self, x: torch.Tensor) -> torch.Tensor:
        """The base path, (N, O, H', W'): a grouped convolution by the diagonal blocks of W."""
        out_channels, in_channels, *kernel = self.weight.shape
        blocks = self.weight.view(
            self.groups,
            out_channels // self.groups,
            self.groups,
            in_channels // self.groups,
            *kernel,
        )
        diagonal = torch.stack([blocks[group, :, group] for group in range(self.groups)])
        return F.conv2d(
            x,
            diagonal.flatten(0, 1),
            stride=self.stride,
            padding=self.kernel // 2,
            groups=self.groups,
        )

    def target_loss(self) -> torch.Tensor:
        """``sum (delta - threshold_target)^2``, a scalar; 0 for a dense convolution."""
        if self.groups == 1:
            return self.weight.new_zeros(())
        return (self.delta - self.threshold_target).square().sum()


def target_loss(model: nn.Module) -> torch.Tensor:
    """``TARGET_WEIGHT * sum (delta - threshold_target)^2`` over all gated layers, a scalar."""
    gated = (module for module in model.modules() if isinstance(module, ChannelGatedConv2d))
    return TARGET_WEIGHT * sum(module.target_loss() for module in gated)
