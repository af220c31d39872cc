"""The language model of Molmo: a Qwen2-like decoder with rotary positions and a KV cache.

Knows nothing of images: embeddings in, hidden states out. Module names are those of the published
checkpoints.

B batch, T new tokens, S tokens seen so far, D width, H heads, K key-value heads, V vocabulary
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from molmo_model.attention import attend
from molmo_model.config import DecoderConfig


class KVCache:
    """Keys and values of all layers, preallocated, filled from the front."""

    def __init__(
        self,
        config: DecoderConfig,
        batch: int,
        capacity: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        shape = (config.layers, batch, config.kv_heads, capacity, config.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.is_token = torch.zeros(batch, capacity, dtype=torch.bool, device=device)
        self.length = 0

    def append(self, is_token: Tensor) -> None:
        """Makes room for (B, T) new tokens; False marks padding, which nobody will see."""
        end = self.length + is_token.shape[1]
        if end > self.is_token.shape[1]:
            raise ValueError(f"the cache holds {self.is_token.shape[1]} tokens, {end} are needed")
        self.is_token[:, self.length : end] = is_token
        self.length = end

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Stores the (B, K, T, head) of the newest tokens; returns all (B, K, S, head)."""
        new = slice(self.length - keys.shape[2], self.length)
        self.keys[layer, :, :, new] = keys
        self.values[layer, :, :, new] = values
        return self.keys[layer, :, :, : self.length], self.values[layer, :, :, : self.length]


class Embedding(nn.Module):
    """The main table and, behind it, the rows of tokens that are read and never predicted."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(config.embedding_size, config.width))
        self.new_embedding = nn.Parameter(torch.zeros(config.additional_vocab_size, config.width))

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) int64 -> (B, T, D); -1 (padding) reads row 0, which nobody sees."""
        return functional.embedding(
            ids.clamp(min=0), torch.cat([self.embedding, self.new_embedding])
        )


class Decoder(nn.Module):
    """Embedding, blocks, final norm and head."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        self.wte = Embedding(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln_f = RMSNorm(config.width, config.norm_eps)
        self.ff_out = nn.Linear(config.width, config.embedding_size, bias=False)

    def forward(
        self, x: Tensor, positions: Tensor, mask: Tensor, cache: KVCache | None = None
    ) -> Tensor:
        """Embeddings to final hidden states.

        x:         (B, T, D)
        positions: (B, T) int64
        mask:      (B, T, S) bool, which tokens each new token sees
        returns:   (B, T, D), normed; `ff_out` makes logits of it
        """
        rotation = rotary_tables(positions, self.config.head_dim, self.config.rope_theta)
        for layer, block in enumerate(self.blocks):
            x = block(x, rotation, mask[:, None], cache, layer)
        return self.ln_f(x)


class Block(nn.Module):
    """Pre-norm attention and SiLU-gated MLP."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        head = config.head_dim
        self.attn_norm = RMSNorm(config.width, config.norm_eps)
        self.att_proj = nn.Linear(config.width, (config.heads + 2 * config.kv_heads) * head)
        self.attn_out = nn.Linear(config.width, config.width, bias=False)
        self.ff_norm = RMSNorm(config.width, config.norm_eps)
        self.ff_proj = nn.Linear(config.width, 2 * config.mlp, bias=False)
        self.ff_out = nn.Linear(config.mlp, config.width, bias=False)

    def forward(
        self,
        x: Tensor,
        rotation: tuple[Tensor, Tensor],
        mask: Tensor,
        cache: KVCache | None,
        layer: int,
    ) -> Tensor:
        x = x + self.attend(self.attn_norm(x), rotation, mask, cache, layer)
        up, gate = self.ff_proj(self.ff_norm(x)).chunk(2, dim=-1)
        return x + self.ff_out(up * functional.silu(gate))

    def attend(
        self,
        x: Tensor,
        rotation: tuple[Tensor, Tensor],
        mask: Tensor,
        cache: KVCache | None,
        layer: int,
    ) -> Tensor:
        """Grouped-query attention: (B, T, D) -> (B, T, D)."""
        heads, kv_heads = self.config.heads, self.config.kv_heads
        fused = self.att_proj(x).unflatten(-1, (heads + 2 * kv_heads, -1)).transpose(1, 2)
        q, k, v = fused.split([heads, kv_heads, kv_heads], dim=1)
        q, k = rotate(q, rotation), rotate(k, rotation)
        if cache is not None:
            k, v = cache.update(layer, k, v)
        k, v = (t.repeat_interleave(heads // kv_heads, dim=1) for t in (k, v))
        mixed = attend(q, k, v, mask)
        return self.attn_out(mixed.transpose(1, 2).flatten(-2))


class RMSNorm(nn.Module):
    """Root-mean-square norm; statistics in float32, the weight applied after the cast back."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return normed.to(x.dtype) * self.weight


def rotary_tables(positions: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding: (B, T) -> two (B, 1, T, head), float32."""
    exponents = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32)
    angles = positions[:, None, :, None].float() * theta ** (-exponents / head_dim)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turns (B, H, T, head) by its positions, first half against second half."""
    cos, sin = rotation
    first, second = x.float().chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return (x.float() * cos + turned * sin).to(x.dtype)
