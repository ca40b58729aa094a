from collections.abc import Sequence

_Stage = tuple[int, int, int, int, int]
_Term = tuple[int, bool, Sequence[_Stage], int, int]

def set_team(function: int) -> None: ...
def weighted_sum_float32(terms: Sequence[int], weights: int, n: int, out: int) -> None: ...
def weighted_sum_float64(terms: Sequence[int], weights: int, n: int, out: int) -> None: ...
def weighted_sum_backward_float32(
    grad: int, terms: Sequence[int], weights: int, n: int, grad_terms: Sequence[int], grad_weights: int
) -> None: ...
def weighted_sum_backward_float64(
    grad: int, terms: Sequence[int], weights: int, n: int, grad_terms: Sequence[int], grad_weights: int
) -> None: ...
def max_pool_3x3_float32(
    images: int, height: int, width: int, channels: int, stride: int, x: int, out: int, places: int
) -> None: ...
def max_pool_3x3_float64(
    images: int, height: int, width: int, channels: int, stride: int, x: int, out: int, places: int
) -> None: ...
def max_pool_3x3_backward_float32(
    images: int, height: int, width: int, channels: int, stride: int, grad: int, places: int, grad_x: int
) -> None: ...
def max_pool_3x3_backward_float64(
    images: int, height: int, width: int, channels: int, stride: int, grad: int, places: int, grad_x: int
) -> None: ...
def avg_pool_3x3_float32(
    images: int, height: int, width: int, channels: int, stride: int, x: int, out: int
) -> None: ...
def avg_pool_3x3_float64(
    images: int, height: int, width: int, channels: int, stride: int, x: int, out: int
) -> None: ...
def avg_pool_3x3_backward_float32(
    images: int, height: int, width: int, channels: int, stride: int, grad: int, grad_x: int
) -> None: ...
def avg_pool_3x3_backward_float64(
    images: int, height: int, width: int, channels: int, stride: int, grad: int, grad_x: int
) -> None: ...
def relu_depthwise_float32(
    images: int,
    height: int,
    width: int,
    channels: int,
    kernel: int,
    stride: int,
    dilation: int,
    x: int,
    weights: int,
    out: int,
) -> None: ...
def relu_depthwise_float64(
    images: int,
    height: int,
    width: int,
    channels: int,
    kernel: int,
    stride: int,
    dilation: int,
    x: int,
    weights: int,
    out: int,
) -> None: ...
def relu_depthwise_backward_float32(
    images: int,
    height: int,
    width: int,
    channels: int,
    kernel: int,
    stride: int,
    dilation: int,
    grad: int,
    x: int,
    weights: int,
    grad_x: int,
    grad_weights: int,
) -> None: ...
def relu_depthwise_backward_float64(
    images: int,
    height: int,
    width: int,
    channels: int,
    kernel: int,
    stride: int,
    dilation: int,
    grad: int,
    x: int,
    weights: int,
    grad_x: int,
    grad_weights: int,
) -> None: ...
def pointwise_float32(
    pixels: int, in_channels: int, out_channels: int, x: int, weights: int, out: int
) -> None: ...
def pointwise_float64(
    pixels: int, in_channels: int, out_channels: int, x: int, weights: int, out: int
) -> None: ...
def pointwise_backward_float32(
    pixels: int,
    in_channels: int,
    out_channels: int,
    grad: int,
    x: int,
    weights: int,
    grad_x: int,
    grad_weights: int,
) -> None: ...
def pointwise_backward_float64(
    pixels: int,
    in_channels: int,
    out_channels: int,
    grad: int,
    x: int,
    weights: int,
    grad_x: int,
    grad_weights: int,
) -> None: ...
def batch_norm_float32(
    rows: int, channels: int, x: int, epsilon: float, out: int, means: int, variances: int, scales: int
) -> None: ...
def batch_norm_backward_float32(
    rows: int, channels: int, grad: int, x: int, means: int, scales: int, grad_x: int
) -> None: ...
def batch_norm_float64(
    rows: int, channels: int, x: int, epsilon: float, out: int, means: int, variances: int, scales: int
) -> None: ...
def batch_norm_backward_float64(
    rows: int, channels: int, grad: int, x: int, means: int, scales: int, grad_x: int
) -> None: ...
def follow_statistics_float32(
    channels: int, count: int, layers: Sequence[tuple[int, int, int, int, int, float | None]]
) -> None: ...
def follow_statistics_float64(
    channels: int, count: int, layers: Sequence[tuple[int, int, int, int, int, float | None]]
) -> None: ...
def normalized_sum_float32(
    rows: int,
    channels: int,
    terms: Sequence[int],
    normalized: Sequence[bool],
    weights: int,
    epsilon: float,
    out: int,
    means: int,
    variances: int,
    scales: int,
) -> None: ...
def normalized_sum_backward_float32(
    rows: int,
    channels: int,
    grad: int,
    terms: Sequence[int],
    normalized: Sequence[bool],
    weights: int,
    means: int,
    scales: int,
    grad_terms: Sequence[int],
    grad_weights: int,
) -> None: ...
def normalized_sum_float64(
    rows: int,
    channels: int,
    terms: Sequence[int],
    normalized: Sequence[bool],
    weights: int,
    epsilon: float,
    out: int,
    means: int,
    variances: int,
    scales: int,
) -> None: ...
def normalized_sum_backward_float64(
    rows: int,
    channels: int,
    grad: int,
    terms: Sequence[int],
    normalized: Sequence[bool],
    weights: int,
    means: int,
    scales: int,
    grad_terms: Sequence[int],
    grad_weights: int,
) -> None: ...
def mixed_sums_float32(
    sizes: Sequence[int],
    x: int,
    terms: Sequence[_Term],
    sums: Sequence[tuple[Sequence[int], int, int]],
    statistics: int,
    epsilon: float,
    kept: bool,
) -> None: ...
def mixed_sums_backward_float32(
    sizes: Sequence[int],
    x: int,
    terms: Sequence[_Term],
    sums: Sequence[tuple[Sequence[int], int, int, int]],
    statistics: int,
    kept: bool,
    gradients: Sequence[tuple[Sequence[int], Sequence[int], int, int]],
    grad_x: int,
) -> None: ...
def mixed_sums_float64(
    sizes: Sequence[int],
    x: int,
    terms: Sequence[_Term],
    sums: Sequence[tuple[Sequence[int], int, int]],
    statistics: int,
    epsilon: float,
    kept: bool,
) -> None: ...
def mixed_sums_backward_float64(
    sizes: Sequence[int],
    x: int,
    terms: Sequence[_Term],
    sums: Sequence[tuple[Sequence[int], int, int, int]],
    statistics: int,
    kept: bool,
    gradients: Sequence[tuple[Sequence[int], Sequence[int], int, int]],
    grad_x: int,
) -> None: ...
def take_channels_float32(pixels: int, channels: int, width: int, x: int, part: int) -> None: ...
def join_channels_float32(
    pixels: int, width: int, rest_width: int, part: int, rest: int, out: int
) -> None: ...
def shuffle_channels_float32(
    pixels: int, width: int, portion: int, part: int, rest: int, step: int, out: int
) -> None: ...
def unshuffle_channels_float32(
    pixels: int, width: int, portion: int, shuffled: int, part: int, rest: int
) -> None: ...
def take_channels_float64(pixels: int, channels: int, width: int, x: int, part: int) -> None: ...
def join_channels_float64(
    pixels: int, width: int, rest_width: int, part: int, rest: int, out: int
) -> None: ...
def shuffle_channels_float64(
    pixels: int, width: int, portion: int, part: int, rest: int, step: int, out: int
) -> None: ...
def unshuffle_channels_float64(
    pixels: int, width: int, portion: int, shuffled: int, part: int, rest: int
) -> None: ...
