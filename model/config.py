"""Reads and writes the published config.json of Molmo, and names what is hard-wired beside it.

Knows the Qwen2-like dense naming (7B-D, 72B). The published dense files have no vision section:
its values are the defaults here; our own small models write theirs under the key names that the
mixture-of-experts release uses.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class ConfigError(ValueError):
    """A config.json that is not a Molmo we can build."""


@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """How an image becomes crops; lengths in patches unless said otherwise."""

    size: int = 336  # pixels, the side of a crop
    patch: int = 14  # pixels
    margins: tuple[int, int] = (4, 4)  # shared with the neighbour, before and after
    max_crops: int = 12  # high-resolution crops, the global one not counted
    pool: int = 2  # pooled patches per side of a pooling window
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)  # CLIP, RGB
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    @property
    def patches_per_side(self) -> int:
        return self.size // self.patch

    @property
    def patches(self) -> int:
        """P, patches per crop."""
        return self.patches_per_side**2

    @property
    def pooled_per_side(self) -> int:
        return self.patches_per_side // self.pool

    @property
    def pooled(self) -> int:
        """Q, pooled patches per crop."""
        return self.pooled_per_side**2

    @property
    def patch_values(self) -> int:
        """Numbers in a flattened RGB patch: 588 as published."""
        return self.patch * self.patch * 3

    @property
    def margin_px(self) -> int:
        """Both margins of an axis together, in pixels."""
        return sum(self.margins) * self.patch

    @property
    def window_px(self) -> int:
        """What a crop adds to the picture: its side without the margins, in pixels."""
        return self.size - self.margin_px


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The ViT and what the connector takes from it. Defaults: CLIP ViT-L/14 at 336 px."""

    width: int = 1024
    heads: int = 16
    head_dim: int = 64
    mlp: int = 4096
    layers: int = 23
    norm_eps: float = 1e-5
    features: tuple[int, ...] = (-2, -9)  # blocks whose outputs are concatenated, in this order

    @property
    def feature_width(self) -> int:
        return self.width * len(self.features)

    @property
    def depth_used(self) -> int:
        """Blocks that have to run; the last published block is stored and never used."""
        return max(layer % self.layers for layer in self.features) + 1


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The language model."""

    vocab_size: int
    embedding_size: int  # rows of the main table and of the head
    additional_vocab_size: int = 128  # rows that can be read but not predicted
    width: int
    mlp: int  # the real hidden size: half of the published intermediate_size
    layers: int
    heads: int
    kv_heads: int
    norm_eps: float
    rope_theta: float
    max_positions: int = 4096

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True, kw_only=True)
class ImageTokens:
    """Ids of the special image tokens. In every published model they follow the vocabulary."""

    start: int
    end: int
    patch: int
    column: int

    NAMES = ("<im_start>", "<im_end>", "<im_patch>", "<im_col>")

    @classmethod
    def following(cls, vocab_size: int) -> ImageTokens:
        return cls(
            start=vocab_size, end=vocab_size + 1, patch=vocab_size + 2, column=vocab_size + 3
        )


@dataclass(frozen=True, kw_only=True)
class MolmoConfig:
    """Everything that shapes the network and its input."""

    decoder: DecoderConfig
    vision: VisionConfig = field(default_factory=VisionConfig)
    crops: CropConfig = field(default_factory=CropConfig)

    @property
    def image_tokens(self) -> ImageTokens:
        return ImageTokens.following(self.decoder.vocab_size)

    @classmethod
    def from_json(cls, path: str | Path) -> MolmoConfig:
        """Reads a published config.json; raises ConfigError with the file and the key."""
        try:
            raw = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: cannot be read as JSON: {error}") from error
        try:
            return _from_published(raw)
        except KeyError as error:
            raise ConfigError(f"{path}: the key {error} is missing") from error
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    def to_json(self, path: str | Path) -> None:
        """Writes the same layout: what from_json reads back as an equal config."""
        Path(path).write_text(json.dumps(_to_published(self), indent=2) + "\n")


# What the published dense configs say and we build; anything else is another model.
_FIXED = {
    "attention_layer_norm": False,
    "clip_qkv": None,
    "layer_norm_type": "rms",
    "norm_after": False,
    "qkv_bias": True,
    "weight_tying": False,
}


def _from_published(raw: dict[str, Any]) -> MolmoConfig:
    if "moe_num_experts" in raw or "d_model" in raw:
        raise ConfigError("a mixture of experts; supported are Qwen2-like Molmos (7B-D, 72B)")
    for key, wanted in _FIXED.items():
        if raw.get(key, wanted) != wanted:
            raise ConfigError(
                f"{key} is {raw[key]!r}; supported are Qwen2-like Molmos with {wanted!r}"
            )
    config = MolmoConfig(
        decoder=_decoder(raw), vision=_vision(raw), crops=_crops(raw, raw.get("vision_backbone"))
    )
    _check(config)
    return config


def _decoder(raw: dict[str, Any]) -> DecoderConfig:
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
    )


def _vision(raw: dict[str, Any]) -> VisionConfig:
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


def _crops(raw: dict[str, Any], vit: dict[str, Any] | None) -> CropConfig:
    before, after = raw.get("overlap_margins", CropConfig.margins)
    return CropConfig(
        size=vit["image_default_input_size"][0] if vit else CropConfig.size,
        patch=vit["image_patch_size"] if vit else CropConfig.patch,
        margins=(before, after),
        max_crops=raw.get("max_crops", CropConfig.max_crops),
        pool=raw.get("image_pooling_h", CropConfig.pool),
    )


def _check(config: MolmoConfig) -> None:
    """Refuses sizes that do not fit together, before any tensor is made."""
    decoder, vision, crops = config.decoder, config.vision, config.crops
    rules = {
        "hidden_size must be a multiple of num_attention_heads": decoder.width % decoder.heads,
        "num_attention_heads must be a multiple of num_key_value_heads": (
            decoder.heads % decoder.kv_heads
        ),
        "the crop must be a multiple of the patch": crops.size % crops.patch,
        "the patches of a crop must fill the pooling windows": crops.patches_per_side % crops.pool,
        "overlap_margins must fill the pooling windows": any(
            m % crops.pool for m in crops.margins
        ),
        "the margins must leave a window": crops.window_px <= 0,
        "vit_layers must be layers of the ViT": any(
            not -vision.layers <= layer < vision.layers for layer in vision.features
        ),
    }
    broken = [rule for rule, is_broken in rules.items() if is_broken]
    if broken:
        raise ConfigError("; ".join(broken))


def _to_published(config: MolmoConfig) -> dict[str, Any]:
    decoder, vision, crops = config.decoder, config.vision, config.crops
    return {
        "architectures": ["MolmoForCausalLM"],
        "model_type": "molmo",
        **_FIXED,
        "vocab_size": decoder.vocab_size,
        "embedding_size": decoder.embedding_size,
        "additional_vocab_size": decoder.additional_vocab_size,
        "hidden_size": decoder.width,
        "intermediate_size": 2 * decoder.mlp,
        "num_hidden_layers": decoder.layers,
        "num_attention_heads": decoder.heads,
        "num_key_value_heads": decoder.kv_heads,
        "max_position_embeddings": decoder.max_positions,
        "layer_norm_eps": decoder.norm_eps,
        "rope_theta": decoder.rope_theta,
        "tie_word_embeddings": False,
        "use_cache": True,
        "use_position_ids": True,
        "torch_dtype": "float32",
        "vit_layers": list(vision.features),
        "image_pooling_2d": "attention-meanq",
        "image_padding_embed": "pad_and_partial_pad",
        "image_projector": "mlp",
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
