"""The sizes that shape a Molmo: crops, ViT, decoder.

Knows no tensors and no key names of files (see published.py). The defaults are what the published
checkpoints have in common.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


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
class ExpertsConfig:
    """A mixture of experts in place of each MLP."""

    count: int
    chosen: int  # per token


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The language model: Qwen2-like (7B-D, 72B), OLMo-like (7B-O) or OLMoE-like (E-1B)."""

    vocab_size: int
    embedding_size: int  # rows of the main table and of the head
    additional_vocab_size: int = 128  # rows that can be read but not predicted
    width: int
    mlp: int  # the real hidden size, of each expert if there are any: half of the published value
    layers: int
    heads: int
    kv_heads: int
    norm_eps: float
    rope_theta: float
    max_positions: int = 4096
    qkv_bias: bool = True
    qk_norm: bool = False  # over the whole width, before it is split into heads
    norm_after: bool = False  # each branch is normalised behind, not in front
    experts: ExpertsConfig | None = None

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
        from molmo_model import published  # it builds these classes

        return published.read(Path(path))

    def to_json(self, path: str | Path) -> None:
        """Writes the same layout: what from_json reads back as an equal config."""
        from molmo_model import published

        published.write(self, Path(path))

    def __post_init__(self) -> None:
        """Refuses sizes that do not fit together, before any tensor is made."""
        decoder, vision, crops = self.decoder, self.vision, self.crops
        rules = {
            "hidden_size must be a multiple of num_attention_heads": decoder.width % decoder.heads,
            "num_attention_heads must be a multiple of num_key_value_heads": (
                decoder.heads % decoder.kv_heads
            ),
            "the crop must be a multiple of the patch": crops.size % crops.patch,
            "the patches of a crop must fill the pooling windows": crops.patches_per_side
            % crops.pool,
            "overlap_margins must fill the pooling windows": any(
                m % crops.pool for m in crops.margins
            ),
            "the margins must leave a window": crops.window_px <= 0,
            "moe_top_k must be at most moe_num_experts": (
                decoder.experts is not None and decoder.experts.chosen > decoder.experts.count
            ),
            "vit_layers must be layers of the ViT": any(
                not -vision.layers <= layer < vision.layers for layer in vision.features
            ),
        }
        broken = [rule for rule, is_broken in rules.items() if is_broken]
        if broken:
            raise ConfigError("; ".join(broken))
