"""Networks of transformers for images, videos, sounds and text, shrunk by their configurations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from .own_model import Network
from .packages import package

RGB = (3, 32, 32)
# of most transformers
VIT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32,
    "patch_size": 8, "num_labels": 10,
}  # fmt: skip
DEPTHS = {"depths": [1, 1, 1, 1], "num_labels": 10}
WIDTHS = {"hidden_sizes": [16, 16, 32, 32], **DEPTHS}
SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4,
        "num_labels": 10}  # fmt: skip
SOUND = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
         "conv_dim": (16, 16), "conv_stride": (5, 2), "conv_kernel": (10, 3), "num_feat_extract_layers": 2,
         "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "num_labels": 10}  # fmt: skip
TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
IDS = torch.tensor([[5, 6, 7, 2]])

# class of the model: its configuration's class, options, shape
IMAGES: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "BeitForImageClassification": ("BeitConfig", VIT, RGB),
    "BeitForSemanticSegmentation": (
        "BeitConfig",
        VIT
        | {"num_hidden_layers": 4, "out_indices": [0, 1, 2, 3], "use_auxiliary_head": True, "auxiliary_channels": 8},
        RGB,
    ),
    "BitForImageClassification": ("BitConfig", WIDTHS | {"embedding_size": 16, "num_groups": 4}, RGB),
    "ConvNextForImageClassification": ("ConvNextConfig", WIDTHS, RGB),
    "ConvNextV2ForImageClassification": ("ConvNextV2Config", WIDTHS, RGB),
    "Data2VecVisionForImageClassification": ("Data2VecVisionConfig", VIT, RGB),
    "DeiTForImageClassification": ("DeiTConfig", VIT, RGB),
    "DeiTForImageClassificationWithTeacher": ("DeiTConfig", VIT, RGB),
    "DeiTForMaskedImageModeling": ("DeiTConfig", VIT | {"encoder_stride": 8}, RGB),
    "Dinov2ForImageClassification": ("Dinov2Config", VIT, RGB),
    "Dinov2WithRegistersForImageClassification": ("Dinov2WithRegistersConfig", VIT, RGB),
    "DINOv3ViTModel": ("DINOv3ViTConfig", VIT, RGB),
    "DPTForDepthEstimation": (
        "DPTConfig",
        VIT
        | {
            "num_hidden_layers": 4,
            "backbone_out_indices": [0, 1, 2, 3],
            "neck_hidden_sizes": [8, 8, 16, 16],
            "fusion_hidden_size": 8,
            "is_hybrid": False,
            "reassemble_factors": [4, 2, 1, 0.5],
        },
        RGB,
    ),
    "EfficientNetForImageClassification": (
        "EfficientNetConfig",
        {"image_size": 32, "width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320, "num_labels": 10},
        RGB,
    ),
    "FocalNetForImageClassification": (
        "FocalNetConfig",
        {
            "image_size": 32,
            "embed_dim": 16,
            "hidden_sizes": [16, 32],
            "depths": [1, 1],
            "focal_levels": [1, 1],
            "focal_windows": [3, 3],
            "num_labels": 10,
        },
        RGB,
    ),
    "GLPNForDepthEstimation": (
        "GLPNConfig",
        {
            "num_encoder_blocks": 4,
            "hidden_sizes": [8, 8, 16, 16],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 1, 2, 2],
            "decoder_hidden_size": 8,
        },
        (3, 64, 64),
    ),
    "HGNetV2ForImageClassification": ("HGNetV2Config", {"num_labels": 10}, RGB),
    "HieraForImageClassification": (
        "HieraConfig",
        {"image_size": [64, 64], "embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "num_labels": 10},
        (3, 64, 64),
    ),
    "IJepaForImageClassification": ("IJepaConfig", VIT, RGB),
    "LevitForImageClassification": (
        "LevitConfig",
        {
            "image_size": 64,
            "hidden_sizes": [16, 32, 48],
            "num_attention_heads": [1, 2, 3],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
            "num_labels": 10,
        },
        (3, 64, 64),
    ),
    "LevitForImageClassificationWithTeacher": (
        "LevitConfig",
        {
            "image_size": 64,
            "hidden_sizes": [16, 32, 48],
            "num_attention_heads": [1, 2, 3],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
            "num_labels": 10,
        },
        (3, 64, 64),
    ),
    "MobileNetV1ForImageClassification": ("MobileNetV1Config", {"depth_multiplier": 0.25, "num_labels": 10}, RGB),
    "MobileNetV2ForImageClassification": ("MobileNetV2Config", {"depth_multiplier": 0.35, "num_labels": 10}, RGB),
    "MobileNetV2ForSemanticSegmentation": ("MobileNetV2Config", {"depth_multiplier": 0.35, "num_labels": 10}, RGB),
    "MobileViTForImageClassification": (
        "MobileViTConfig",
        {"image_size": 32, "hidden_sizes": [16, 24, 32], "num_labels": 10},
        (3, 64, 64),
    ),
    "MobileViTV2ForImageClassification": (
        "MobileViTV2Config",
        {"image_size": 32, "width_multiplier": 0.25, "num_labels": 10},
        (3, 64, 64),
    ),
    "PerceiverForImageClassificationLearned": (
        "PerceiverConfig",
        {
            "num_latents": 8,
            "d_latents": 32,
            "num_blocks": 1,
            "num_self_attends_per_block": 1,
            "image_size": 16,
            "num_self_attention_heads": 2,
            "num_cross_attention_heads": 1,
            "num_labels": 10,
        },
        (3, 16, 16),
    ),
    "PoolFormerForImageClassification": ("PoolFormerConfig", WIDTHS, RGB),
    "PvtForImageClassification": (
        "PvtConfig",
        {
            "image_size": 32,
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [8, 8, 16, 16],
            "num_attention_heads": [1, 1, 2, 2],
            "num_labels": 10,
        },
        RGB,
    ),
    "PvtV2ForImageClassification": (
        "PvtV2Config",
        {
            "image_size": 32,
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [8, 8, 16, 16],
            "num_attention_heads": [1, 1, 2, 2],
            "num_labels": 10,
        },
        RGB,
    ),
    "RegNetForImageClassification": ("RegNetConfig", WIDTHS | {"embedding_size": 16, "groups_width": 8}, RGB),
    "ResNetForImageClassification": ("ResNetConfig", WIDTHS | {"embedding_size": 16, "layer_type": "basic"}, RGB),
    "SegformerForImageClassification": (
        "SegformerConfig",
        {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16], "num_labels": 10},
        (3, 64, 64),
    ),
    "SegformerForSemanticSegmentation": (
        "SegformerConfig",
        {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16], "decoder_hidden_size": 16, "num_labels": 5},
        (3, 64, 64),
    ),
    "SiglipForImageClassification": (
        "SiglipConfig",
        {"vision_config": VIT, "text_config": TEXT, "num_labels": 10},
        RGB,
    ),
    "CLIPForImageClassification": ("CLIPConfig", {"vision_config": VIT, "text_config": TEXT, "num_labels": 10}, RGB),
    "CLIPVisionModelWithProjection": ("CLIPVisionConfig", VIT | {"projection_dim": 16}, RGB),
    "SwiftFormerForImageClassification": (
        "SwiftFormerConfig",
        {"image_size": 64, "depths": [1, 1, 1, 1], "embed_dims": [16, 16, 32, 32], "num_labels": 10},
        (3, 64, 64),
    ),
    "SwinForImageClassification": ("SwinConfig", SWIN, RGB),
    "Swinv2ForImageClassification": ("Swinv2Config", SWIN, RGB),
    "Swin2SRForImageSuperResolution": (
        "Swin2SRConfig",
        {"image_size": 16, "patch_size": 1, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
        (3, 16, 16),
    ),
    "TextNetForImageClassification": ("TextNetConfig", {"num_labels": 10}, RGB),
    "ViTForImageClassification": ("ViTConfig", VIT, RGB),
    "ViTForMaskedImageModeling": ("ViTConfig", VIT | {"encoder_stride": 8}, RGB),
    "ViTMAEForPreTraining": (
        "ViTMAEConfig",
        VIT
        | {
            "decoder_hidden_size": 16,
            "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 2,
            "decoder_intermediate_size": 32,
        },
        RGB,
    ),
    "ViTMSNForImageClassification": ("ViTMSNConfig", VIT, RGB),
    "VitDetModel": ("VitDetConfig", VIT, RGB),
    "YolosForObjectDetection": ("YolosConfig", VIT | {"image_size": [32, 32], "num_detection_tokens": 5}, RGB),
    "DetrForObjectDetection": (
        "DetrConfig",
        {
            "use_timm_backbone": False,
            "use_pretrained_backbone": False,
            "backbone": None,
            "d_model": 16,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
            "num_queries": 6,
            "num_labels": 5,
        },
        (3, 64, 64),
    ),
    "SuperPointForKeypointDetection": ("SuperPointConfig", {}, (3, 32, 32)),
    "VideoMAEForVideoClassification": ("VideoMAEConfig", VIT | {"num_frames": 4}, (4, 3, 32, 32)),
    "TimesformerForVideoClassification": ("TimesformerConfig", VIT | {"num_frames": 3}, (3, 3, 32, 32)),
    "VivitForVideoClassification": (
        "VivitConfig",
        VIT | {"num_frames": 4, "tubelet_size": [2, 8, 8]},
        (4, 3, 32, 32),
    ),
    "ASTForAudioClassification": ("ASTConfig", VIT | {"max_length": 32, "num_mel_bins": 16}, (32, 16)),
    "Wav2Vec2ForSequenceClassification": ("Wav2Vec2Config", SOUND, (800,)),
    "Wav2Vec2ForCTC": ("Wav2Vec2Config", SOUND | {"vocab_size": 12}, (800,)),
    "HubertForSequenceClassification": ("HubertConfig", SOUND, (800,)),
    "WavLMForSequenceClassification": ("WavLMConfig", SOUND, (800,)),
    "WhisperForAudioClassification": (
        "WhisperConfig",
        {
            "d_model": 32,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "num_mel_bins": 16,
            "max_source_positions": 20,
            "num_labels": 10,
        },
        (16, 40),
    ),
}

# with other arguments than an image
OTHERS: dict[str, tuple[str, dict[str, Any], tuple[int, ...], Any]] = {
    "CLIPModel": (
        "CLIPConfig",
        {"vision_config": VIT, "text_config": TEXT | {"eos_token_id": 2}},
        RGB,
        lambda x: (torch.cat([IDS, IDS.flip(1)]), x),
    ),
    "Swin2SR, by name": (
        "Swin2SRConfig",
        {"image_size": 16, "patch_size": 1, "embed_dim": 16, "depths": [1], "num_heads": [2], "window_size": 4},
        (3, 16, 16),
        {"output_attentions": False},
    ),
    "BertForSequenceClassification": (
        "BertConfig",
        TEXT | {"num_labels": 5},
        (6, 32),
        lambda x: (None, None, None, None, x),
    ),
    "GPT2LMHeadModel": (
        "GPT2Config",
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 50},
        (6, 32),
        lambda x: (None, None, None, None, None, x),
    ),
    "VisionEncoderDecoderModel": ("", {}, RGB, lambda x: (x, IDS.expand(len(x), -1))),
}
OTHER_NAMES = {"Swin2SR, by name": "Swin2SRForImageSuperResolution"}
QUICK = {
    "ViTForImageClassification", "Wav2Vec2ForSequenceClassification", "VideoMAEForVideoClassification", "CLIPModel",
    "ViTMAEForPreTraining", "SegformerForSemanticSegmentation", "SwinForImageClassification",
}  # fmt: skip


def _model(name: str, config: str, options: dict[str, Any]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        home = package("transformers")
        if name == "VisionEncoderDecoderModel":
            encoder = home.ViTModel(home.ViTConfig(**VIT))
            decoder = home.BertLMHeadModel(home.BertConfig(is_decoder=True, add_cross_attention=True, **TEXT))
            return home.VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)
        return getattr(home, name)(getattr(home, config)(**options))

    return build


def networks() -> Iterator[Network]:
    for name, (config, options, shape) in IMAGES.items():
        refused = "gives .* for one image and .* for another" if name.startswith("SuperPoint") else ""
        yield Network(
            name, _model(name, config, options), shape, None, refused, name in QUICK, chance=name.startswith("ViTMAE")
        )
    for name, (config, options, shape, inputs) in OTHERS.items():
        yield Network(name, _model(OTHER_NAMES.get(name, name), config, options), shape, inputs, quick=name in QUICK)
