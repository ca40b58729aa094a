"""Native kernels of mixed operations on the CPU, with their gradients; what they do not take goes to PyTorch.

Each function looks at its arguments. Contiguous tensors of float32 or float64 on the CPU, not too small, go
to the native core: directly, or through operators registered as ``torch.ops.nasx.*`` while ``torch.compile``
traces. Images must lie with their channels last. Other devices, dtypes and layouts, autocast, tensor
subclasses, `torch.func` and exports go to PyTorch's own operators, with the same result. So does a backward
pass that is to be differentiated itself, except under ``torch.compile``, where it is an error.
``NASX_KERNELS=off`` in the environment, or `use_kernels`, sends everything to PyTorch.

This package alone hands addresses of tensors to the core: `nasx.nn.kernels.tensors` checks device, dtype,
layout and size.
"""

from nasx.nn.kernels.batch_norms import batch_norm
from nasx.nn.kernels.channel_parts import shuffle_channels, split_channels
from nasx.nn.kernels.depthwise import relu_depthwise
from nasx.nn.kernels.normalized_sums import normalized_sum
from nasx.nn.kernels.pointwise import pointwise
from nasx.nn.kernels.pooling import avg_pool_3x3, max_pool_3x3
from nasx.nn.kernels.quarters import quarters
from nasx.nn.kernels.tensors import kernels_in_use, use_kernels
from nasx.nn.kernels.weighted_sums import weighted_sum

__all__ = [
    "avg_pool_3x3",
    "batch_norm",
    "kernels_in_use",
    "max_pool_3x3",
    "normalized_sum",
    "pointwise",
    "quarters",
    "relu_depthwise",
    "shuffle_channels",
    "split_channels",
    "use_kernels",
    "weighted_sum",
]
