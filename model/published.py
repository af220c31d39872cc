"""Reads and writes config.json as the published checkpoints spell it.

Two namings: the dense one (7B-D, 7B-O, 72B) and that of the mixture of experts (E-1B). The dense
files have no vision section, its values are hard-wired there; models of other sizes write theirs
under the key names of the E-1B file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from molmo_model.config import (
    ConfigError,
    CropConfig,
    DecoderConfig,
    ExpertsConfig,
    MolmoConfig,
    VisionConfig,
)

Json = dict[str, Any]

# What all published configs say, where they say it; anything else is another network.
_FIXED: Json = {
    "attn_logit_softcapping": None,
    "clip_qkv": None,
    "final_logit_softcapping": None,
    "layer_norm_type": "rms",
    "moe_shared_expert": False,
    "moe_interleave": False,
    "rope_full_precision": True,
    "scale_logits": False,
    "weight_tying": False,
}
_POOLING, _PADDING, _PROJECTOR = "attention-meanq", "pad_and_partial_pad", "mlp"


def read(path: Path) -> MolmoConfig:
    """Raises ConfigError with the file and the key."""
    try:
        raw = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON: {error}") from error
    try:
        _refuse_others(raw)
        decoder = _experts_decoder(raw) if "d_model" in raw else _dense_decoder(raw)
        return MolmoConfig(decoder=decoder, vision=_vision(raw), crops=_crops(raw))
    except KeyError as error:
        raise ConfigError(f"{path}: the key {error} is missing") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def write(config: MolmoConfig, path: Path) -> None:
    """Writes what `read` reads back as an equal config."""
    decoder = config.decoder
    raw = _experts_json(decoder, decoder.experts) if decoder.experts else _dense_json(decoder)
    path.write_text(json.dumps(raw | _vision_json(config), indent=2) + "\n")


def _refuse_others(raw: Json) -> None:
    wanted = _FIXED | {
        "image_pooling_2d": _POOLING,
        "image_padding_embed": _PADDING,
        "image_projector": _PROJECTOR,
    }
    for key, value in wanted.items():
        found = raw.get(key, value)
        if isinstance(found, str):
            found = found.replace("attention_meanq", _POOLING)  # both spellings occur
        if found != value:
            raise ConfigError(f"{key} is {found!r}; the published Molmos have {value!r}")


def _dense_decoder(raw: Json) -> DecoderConfig:
    return DecoderConfig(
        vocab_size=raw["vocab_size"],
        embedding_size=raw.get("embedding_size") or raw["vocab_size"],
        additional_vocab_size=raw.get("additional_vocab_size", 128),
        width=raw["hidden_size"],
        mlp=raw["intermediate_size"] // 2,
        layers=raw["num_hidden_layers"],
        heads=raw["num_attention_heads"],
        kv_heads=raw.get("num_key_value_heads") or raw["num_attention_heads"],
        norm_eps=raw["layer_norm_eps"],
        rope_theta=raw["rope_theta"],
        max_positions=raw.get("max_position_embeddings", 4096),
        qkv_bias=raw.get("qkv_bias", False),
        qk_norm=raw.get("attention_layer_norm", False),
        norm_after=raw.get("norm_after", False),
    )


def _experts_decoder(raw: Json) -> DecoderConfig:
    doubled = raw.get("mlp_hidden_size") or raw["mlp_ratio"] * raw["d_model"]
    return DecoderConfig(
        vocab_size=raw["vocab_size"],
        embedding_size=raw.get("embedding_size") or raw["vocab_size"],
        additional_vocab_size=raw.get("additional_vocab_size", 128),
        width=raw["d_model"],
        mlp=doubled // 2,
        layers=raw["n_layers"],
        heads=raw["n_heads"],
        kv_heads=raw.get("n_kv_heads") or raw["n_heads"],
        norm_eps=raw["layer_norm_eps"],
        rope_theta=raw["rope_theta"],
        max_positions=raw.get("max_sequence_length", 4096),
        qkv_bias=raw.get("qkv_bias", False),
        qk_norm=raw.get("attention_layer_norm", False),
        norm_after=raw.get("norm_after", False),
        experts=ExpertsConfig(count=raw["moe_num_experts"], chosen=raw["moe_top_k"]),
    )


def _vision(raw: Json) -> VisionConfig:
    features = tuple(raw.get("vit_layers", VisionConfig.features))
    vit = raw.get("vision_backbone")
    if vit is None:
        return VisionConfig(features=features)
    return VisionConfig(
        width=vit["image_emb_dim"],
        heads=vit["image_num_heads"],
        head_dim=vit["image_head_dim"],
        mlp=vit["image_mlp_dim"],
        layers=vit["image_num_layers"],
        norm_eps=vit["image_norm_eps"],
        features=features,
    )


def _crops(raw: Json) -> CropConfig:
    vit = raw.get("vision_backbone")
    before, after = raw.get("overlap_margins", CropConfig.margins)
    return CropConfig(
        size=vit["image_default_input_size"][0] if vit else CropConfig.size,
        patch=vit["image_patch_size"] if vit else CropConfig.patch,
        margins=(before, after),
        max_crops=raw.get("max_crops", CropConfig.max_crops),
        pool=raw.get("image_pooling_h", CropConfig.pool),
    )


def _dense_json(decoder: DecoderConfig) -> Json:
    return _common_json(decoder) | {
        "architectures": ["MolmoForCausalLM"],
        "hidden_size": decoder.width,
        "intermediate_size": 2 * decoder.mlp,
        "num_hidden_layers": decoder.layers,
        "num_attention_heads": decoder.heads,
        "num_key_value_heads": decoder.kv_heads,
        "max_position_embeddings": decoder.max_positions,
        "tie_word_embeddings": False,
    }


def _experts_json(decoder: DecoderConfig, experts: ExpertsConfig) -> Json:
    return _common_json(decoder) | {
        "architectures": ["OLMoForCausalLM"],
        "activation_type": "swiglu",
        "block_type": "moe",
        "d_model": decoder.width,
        "mlp_hidden_size": 2 * decoder.mlp,
        "n_layers": decoder.layers,
        "n_heads": decoder.heads,
        "n_kv_heads": decoder.kv_heads,
        "max_sequence_length": decoder.max_positions,
        "moe_num_experts": experts.count,
        "moe_top_k": experts.chosen,
        "moe_dropless": True,
    }


def _common_json(decoder: DecoderConfig) -> Json:
    return {
        "model_type": "molmo",
        "clip_qkv": None,
        "layer_norm_type": "rms",
        "weight_tying": False,
        "vocab_size": decoder.vocab_size,
        "embedding_size": decoder.embedding_size,
        "additional_vocab_size": decoder.additional_vocab_size,
        "layer_norm_eps": decoder.norm_eps,
        "rope_theta": decoder.rope_theta,
        "qkv_bias": decoder.qkv_bias,
        "attention_layer_norm": decoder.qk_norm,
        "norm_after": decoder.norm_after,
        "use_cache": True,
        "use_position_ids": True,
        "torch_dtype": "float32",
    }


def _vision_json(config: MolmoConfig) -> Json:
    vision, crops = config.vision, config.crops
    return {
        "vit_layers": list(vision.features),
        "image_pooling_2d": _POOLING,
        "image_padding_embed": _PADDING,
        "image_projector": _PROJECTOR,
        "image_pooling_h": crops.pool,
        "image_pooling_w": crops.pool,
        "crop_mode": "overlap-and-resize-c2",
        "max_crops": crops.max_crops,
        "overlap_margins": list(crops.margins),
        "vision_backbone": {
            "image_model_type": "openai",
            "image_default_input_size": [crops.size, crops.size],
            "image_patch_size": crops.patch,
            "image_pos_patch_size": crops.patch,
            "image_mlp_activations": "quick_gelu",
            "image_num_pos": crops.patches + 1,
            "image_norm_eps": vision.norm_eps,
            "image_emb_dim": vision.width,
            "image_num_heads": vision.heads,
            "image_num_key_value_heads": vision.heads,
            "image_head_dim": vision.head_dim,
            "image_mlp_dim": vision.mlp,
            "image_num_layers": vision.layers,
        },
    }
