"""The language model of Molmo: rotary positions, grouped heads, a KV cache; one for all variants.

A block is an attention branch and an MLP branch, each with its norm in front or behind; the MLP is
dense or a mixture of experts. Knows nothing of images: embeddings in, hidden states out. Module
names are those of the published mixture of experts (see weights.py for the others).

B batch, T new tokens, S tokens seen so far, D width, H heads, K key-value heads, V vocabulary
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from molmo_model.attention import attend
from molmo_model.config import DecoderConfig, ExpertsConfig


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
        first_new = len(self.embedding)
        main = functional.embedding(ids.clamp(0, first_new - 1), self.embedding)
        extra = functional.embedding((ids - first_new).clamp(min=0), self.new_embedding)
        return torch.where((ids < first_new)[..., None], main, extra)


class Decoder(nn.Module):
    """Embedding, blocks, final norm and head."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        self.wte = Embedding(config)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
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
        context = Context(rotation, mask[:, None], cache)
        for block in self.blocks:
            x = block(x, context)
        return self.ln_f(x)


@dataclass(frozen=True)
class Context:
    """What all blocks share in one pass.

    rotation: cosines and sines of the positions, (B, 1, T, head) each
    mask:     (B, 1, T, S) bool, which tokens each new token sees
    cache:    keys and values of earlier passes
    """

    rotation: tuple[Tensor, Tensor]
    mask: Tensor
    cache: KVCache | None


class Block(nn.Module):
    """Attention and MLP, each added to what it read."""

    def __init__(self, config: DecoderConfig, layer: int):
        super().__init__()
        self.attn = Attention(config, layer)
        self.mlp = MLP(config) if config.experts is None else Experts(config, config.experts)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.mlp(self.attn(x, context))


class Attention(nn.Module):
    """Grouped-query attention with its norm."""

    def __init__(self, config: DecoderConfig, layer: int):
        super().__init__()
        self.config, self.layer = config, layer
        self.branch: nn.Module = nn.Identity()  # where training drops out
        head, eps = config.head_dim, config.norm_eps
        rows = (config.heads + 2 * config.kv_heads) * head
        self.attn_norm = RMSNorm(config.width, eps)
        self.att_proj = nn.Linear(config.width, rows, bias=config.qkv_bias)
        self.attn_out = nn.Linear(config.width, config.width, bias=False)
        if config.qk_norm:
            self.q_norm = RMSNorm(config.heads * head, eps)
            self.k_norm = RMSNorm(config.kv_heads * head, eps)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        if self.config.norm_after:
            return x + self.branch(self.attn_norm(self.mix(x, context)))
        return x + self.branch(self.mix(self.attn_norm(x), context))

    def mix(self, x: Tensor, context: Context) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        q, k, v = self.project(x)
        q, k = rotate(q, context.rotation), rotate(k, context.rotation)
        if context.cache is not None:
            k, v = context.cache.update(self.layer, k, v)
        return self.attn_out(attend(q, k, v, context.mask).transpose(1, 2).flatten(-2))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, D) -> queries (B, H, T, head), keys and values (B, K, T, head)."""
        head = self.config.head_dim
        widths = [n * head for n in (self.config.heads, *[self.config.kv_heads] * 2)]
        q, k, v = self.att_proj(x).split(widths, dim=-1)
        if self.config.qk_norm:  # over all heads together
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (t.unflatten(-1, (-1, head)).transpose(1, 2) for t in (q, k, v))
        return q, k, v


class MLP(nn.Module):
    """SiLU-gated MLP with its norm; the rows of the first half go up, the others gate."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.norm_after = config.norm_after
        self.branch: nn.Module = nn.Identity()  # where training drops out
        self.ff_norm = RMSNorm(config.width, config.norm_eps)
        self.ff_proj = nn.Linear(config.width, 2 * config.mlp, bias=False)
        self.ff_out = nn.Linear(config.mlp, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.norm_after:
            return x + self.branch(self.ff_norm(self.mix(x)))
        return x + self.branch(self.mix(self.ff_norm(x)))

    def mix(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        up, gate = self.ff_proj(x).chunk(2, dim=-1)
        return self.ff_out(up * functional.silu(gate))


class Experts(nn.Module):
    """A mixture of experts with its norm: each token is read by a few of many small MLPs."""

    def __init__(self, config: DecoderConfig, experts: ExpertsConfig):
        super().__init__()
        self.chosen = experts.chosen
        self.branch: nn.Module = nn.Identity()  # where training drops out
        self.ff_norm = RMSNorm(config.width, config.norm_eps)
        self.gate = nn.Linear(config.width, experts.count, bias=False)
        self.experts = nn.ModuleList(Expert(config) for _ in range(experts.count))

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.mix(self.ff_norm(x).flatten(0, 1))
        return x + self.branch(mixed.view_as(x))

    def mix(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, D); no token is dropped, the router's shares are not renormalised."""
        shares = self.gate(x).float().softmax(-1)  # over all experts, before choosing
        weights, chosen = shares.topk(self.chosen, dim=-1)
        mixed = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows, places = torch.nonzero(chosen == number, as_tuple=True)
            weight = weights[rows, places, None].to(x.dtype)
            mixed = mixed.index_add(0, rows, expert(x[rows]) * weight)
        return mixed


class Expert(nn.Module):
    """One SiLU-gated MLP of a mixture."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.mlp, bias=False)
        self.up_proj = nn.Linear(config.width, config.mlp, bias=False)
        self.down_proj = nn.Linear(config.mlp, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


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
