"""PyTorch's functions by what they do to the padding of a tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_aten = torch.ops.aten


def _names(*lines: str) -> frozenset[str]:
    return frozenset(name for line in lines for name in line.split())


SAME_VALUES = _names(
    "to type type_as float half bfloat16 double contiguous clone copy detach data alias cpu cuda",
    "requires_grad pin_memory _to_copy lift_fresh positive identity",
)
"""Functions that leave the values as they are, up to rounding."""

POINTWISE = _names(
    # activations
    "relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish hardswish hardsigmoid tanh",
    "hardtanh hardshrink softshrink tanhshrink softsign softplus logsigmoid log_sigmoid sigmoid",
    "threshold swish",
    # normalisation and dropout: affine, with numbers per image and channel
    "batch_norm native_batch_norm _native_batch_norm_legit_no_training cudnn_batch_norm",
    "instance_norm group_norm layer_norm native_group_norm native_layer_norm local_response_norm",
    "dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout",
    "native_dropout",
    # arithmetic
    "add radd sub rsub subtract mul rmul multiply div rdiv truediv rtruediv divide true_divide",
    "floor_divide pow rpow remainder fmod neg negative abs absolute sign sqrt rsqrt square",
    "reciprocal exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh asinh",
    "acosh atanh erf erfc floor ceil round trunc frac clamp clip clamp_min clamp_max logit",
    "maximum minimum fmax fmin where masked_fill nan_to_num lerp addcmul addcdiv xor",
    "fake_quantize_per_tensor_affine fake_quantize_per_channel_affine quantize_per_tensor",
    "dequantize eq ne lt le gt ge logical_not logical_and logical_or",
)
"""Functions of one cell at a time."""

MOVES = _names(
    "narrow select chunk split tensor_split split_with_sizes unsafe_split unsafe_chunk unbind view",
    "reshape flatten unflatten squeeze unsqueeze permute transpose swapaxes swapdims movedim",
    "moveaxis flip fliplr flipud rot90 roll expand repeat tile slice t mT T _unsafe_view",
    "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle",
)
"""Functions that move values and change none."""

INDEXING = _names("getitem index index_select _unsafe_index")
CONCATENATIONS = _names("cat concat concatenate")
WITHOUT_PADDING = _names(
    "interpolate upsample upsample_nearest upsample_bilinear upsample_nearest2d",
    "_upsample_nearest_exact2d upsample_bilinear2d upsample_bicubic2d repeat_interleave kron",
    "max_unpool2d adaptive_avg_pool2d adaptive_max_pool2d max_pool2d avg_pool2d where unfold",
    "im2col stack broadcast_to broadcast_tensors expand_as view_as reshape_as outer meshgrid",
)
"""Functions whose results may be larger than a map they take, but are not padded by them."""

UNRELATED = _names(
    "zeros_like ones_like full_like empty_like rand_like randn_like randint_like new_zeros",
    "new_ones new_full new_empty new_tensor unfold im2col",
)
"""Functions whose results take no values over, or that are listed where they are called."""

PADS_NOTHING = SAME_VALUES | POINTWISE | MOVES | UNRELATED | WITHOUT_PADDING
"""Functions that pad no map that is not padded."""

PRODUCTS = _names(
    "linear matmul rmatmul mm bmm addmm addbmm baddbmm einsum tensordot bilinear",
    "scaled_dot_product_attention",
)
"""Products of matrices: they pad a map only if one of them selects cells of the other."""

FROM_OUTSIDE = _names("as_tensor asarray tensor from_dlpack frombuffer")
"""Functions that make tensors of what is not followed, such as arrays of numpy."""

MOVES_BY_NAME: dict[str, Callable[..., Any]] = {
    **{name: getattr(Tensor, name) for name in MOVES if callable(getattr(Tensor, name, None))},
    "getitem": Tensor.__getitem__,
    "index": lambda mask, indices: mask[_indices(indices)],
    "_unsafe_index": lambda mask, indices: mask[_indices(indices)],
    "index_select": Tensor.index_select,
    "slice": _aten.slice.Tensor,
    "_unsafe_view": Tensor.reshape,
    **{name: getattr(torch, name) for name in ("pixel_shuffle", "pixel_unshuffle")},
    "channel_shuffle": lambda mask, groups: torch.channel_shuffle(mask.float(), groups).bool(),
    "view": lambda mask, *shape, **named: Tensor.reshape(mask, *shape, **named),
    "T": lambda mask: mask.permute(*range(mask.dim() - 1, -1, -1)),
    "mT": lambda mask: mask.transpose(-2, -1),
}


def name_of(func: Any) -> str:
    """Return the bare name of a function: ``add`` of ``Tensor.__iadd__``, ``data`` of ``x.data``.

    Names of operators lose their overload, and in-place functions their underscore.
    """
    name = str(getattr(func, "__name__", ""))
    if name == "__get__":
        name = str(getattr(getattr(func, "__self__", None), "__name__", ""))
    name = name.partition(".")[0]
    bare = name.strip("_") if name.startswith("__") else name.rstrip("_")
    return _IN_PLACE.get(bare, bare)


_IN_PLACE = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div", "idiv": "div"}


def _indices(indices: Any) -> tuple[Any, ...]:
    return tuple(slice(None) if each is None else each for each in indices)
