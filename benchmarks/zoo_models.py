"""The architectures of ``zoo.py``: their names, and models of them with random weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

SMALL = 96
"""Side of the images of architectures that take any size."""
_SIDES = {"maxvit": 224, "vit_h_14": 98}
"""Of a model or a family that does not."""

_RCNN = {
    "min_size": 96,
    "max_size": 128,
    "rpn_post_nms_top_n_test": 20,
    "box_detections_per_img": 4,
}
_ONE_STAGE = {"topk_candidates": 20, "detections_per_img": 4}
_FEW_BOXES: dict[str, dict[str, Any]] = {
    "faster_rcnn": _RCNN,
    "mask_rcnn": _RCNN,
    "keypoint_rcnn": _RCNN,
    "retinanet": {"min_size": 96, "max_size": 128, **_ONE_STAGE},
    "fcos": {"min_size": 96, "max_size": 128, **_ONE_STAGE},
    "ssd": _ONE_STAGE,
    "ssdlite": _ONE_STAGE,
}
"""Arguments of detectors, by family: small images, and few boxes to paste masks for."""

_SMALLEST = """
    vit_tiny_patch16_224 mobileone_s1 beit_base_patch16_224 halonet_h1 poolformerv2_s12
    cait_xxs24_224 coat_tiny maxvit_pico_rw_256 convit_tiny convmixer_768_32 convnext_zepto_rms
    cpubone_nano crossvit_tiny_240 cs3darknet_focus_s csatv2 cspnext_tiny davit_tiny
    deepseek_vit_412m deit_tiny_patch16_224 densenet121 dla46x_c nf_regnet_b0 dpn48b
    ese_vovnet19b_slim_dw resnet10t edgenext_xx_small efficientformer_l1 efficientformerv2_s0
    mobilenetv2_035 efficientvim_m1 efficientvit_b0 efficientvit_m0 vit_tiny_patch16_dinov3_qkvb
    fasternet_t0 fastvit_t8 mobilenetv3_small_050 focalnet_tiny_srf gcvit_xxtiny gemma4_vit_167m
    ghostnet_050 gmlp_ti16_224 hardcorenas_b hgnetv2_b0 hiera_tiny_224 sam2_hiera_tiny
    hrnet_w18_small iformer_t inception_next_atto inception_resnet_v2 inception_v3 inception_v4
    lcnetv2_small legacy_seresnet18 legacy_xception levit_128s lowformer_b0 mambaout_femto
    mobilenetv5_base mobilevit_xxs mvitv2_tiny naflexvit_base_patch16_parfac_gap nasnetalarge
    nest_tiny nextvit_small pit_ti_224 pnasnet5large pvt_v2_b0 qwen3_vit_88m rdnet_tiny
    regnetx_002 repghostnet_050 repvit_m1 res2next50 resnest14d resnetv2_18 rexnet_100
    samvit_base_patch16_224 selecsls42 sequencer2d_s shvit_s1 skresnet18 starnet_s050
    swiftformer_xs swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_224
    vit_srelpos_small_patch16_224 tiny_vit_5m_224 tnt_s_legacy_patch16_224 tresnet_m
    twins_svt_small vgg11 visformer_tiny vit_tiny_r_s16_p8_224 vitamin_small_224 volo_d1_224
    xception41p xcit_nano_12_p8_224
"""
"""The architecture with the fewest parameters in each family of timm 1.0.31."""


def architectures() -> Iterator[str]:
    """Every architecture of torchvision, and one of each family of timm where that is installed."""
    yield from (f"torchvision:{name}" for name in models.list_models())
    try:
        import timm
    except ImportError:
        print("timm is not installed: its families are left out", file=sys.stderr)
        return
    known = timm.list_models()
    small = [name for name in _SMALLEST.split() if name in known]
    families: dict[str, str] = {}
    for name in (*small, *known):  # of a family that is new, the first
        families.setdefault(_timm_module(name), name)
    yield from (f"timm:{name}" for name in families.values())


def family_of(name: str) -> str:
    """The family of an architecture, with its library: the module that defines it."""
    source, _, model = name.partition(":")
    if source == "timm":
        return f"timm {_timm_module(model)}"
    return f"torchvision {_torchvision_module(model)}"


def _timm_module(model: str) -> str:
    import timm

    return timm.models.model_entrypoint(model).__module__.rpartition(".")[2]


def _torchvision_module(model: str) -> str:
    module = models.get_model_builder(model).__module__
    return module.removeprefix("torchvision.models.").replace(".", " ")


def shapes(name: str, side: int = SMALL) -> Iterator[tuple[int, ...]]:
    """Shapes of an image to try for an architecture, the smallest first: of this side, if any."""
    source, _, model = name.partition(":")
    if source == "torchvision":
        group, _, family = _torchvision_module(model).rpartition(" ")
        if group == "video":
            yield 3, 8, 64, 64
        else:
            side = _SIDES.get(model, _SIDES.get(family, side))
            yield 3, side, side
        return
    import timm

    model_config = timm.get_pretrained_cfg(model)
    size = tuple(model_config.input_size) if model_config else (3, 224, 224)
    if not (model_config and model_config.fixed_input_size):
        yield from ((size[0], side, side) for side in (side, 112, 128, 192) if side < size[1])
    yield size


def made(name: str) -> nn.Module:
    """A model of an architecture, with random weights that are the same each time."""
    source, _, model = name.partition(":")
    torch.manual_seed(0)
    if source == "timm":
        import timm

        return timm.create_model(model, pretrained=False).eval()
    group, _, family = _torchvision_module(model).rpartition(" ")
    extra: dict[str, Any] = {"weights": None}
    if group in ("segmentation", "detection"):
        extra |= {"weights_backbone": None, **_FEW_BOXES.get(family, {})}
    elif group == "quantization":
        extra["quantize"] = True
    elif family in ("googlenet", "inception"):
        extra["init_weights"] = True
    elif family == "vision_transformer":
        extra["image_size"] = _SIDES.get(model, SMALL)
    return models.get_model(model, **extra).eval()


def random_images(count: int, shape: tuple[int, ...]) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1)) + 0.5
