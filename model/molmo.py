"""Molmo: image features added to the embeddings of their tokens, read by a language model.

Knows no files (see weights.py) and no text (see text.py). `generate` is the reference for every
faster engine.

B batch, T tokens, C crops, P patches per crop, Q pooled patches per crop, D width, V vocabulary
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from molmo_model.config import MolmoConfig
from molmo_model.decoder import Decoder, KVCache
from molmo_model.sampling import Chooser, Sampling
from molmo_model.vision import VisionBackbone


class Molmo(nn.Module):
    """The whole network."""

    def __init__(self, config: MolmoConfig):
        super().__init__()
        self.config = config
        self.transformer = Decoder(config.decoder)
        self.vision_backbone = VisionBackbone(config)

    def forward(
        self,
        input_ids: Tensor,
        crops: Tensor | None = None,
        masks: Tensor | None = None,
        index: Tensor | None = None,
        *,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Logits of every position: (B, T, V).

        input_ids:    (B, T) int64, -1 is padding
        crops:        (B, C, P, 588), with masks (B, C, P) and index (B, C, Q)
        position_ids: (B, T) int64; by default the tokens are counted, padding is not
        segment_ids:  (B, T) int64 of packed annotations: a token sees segments not below its own
        cache:        read and filled; the new tokens follow those in it
        """
        features = None
        if crops is not None and masks is not None and index is not None:
            features = place(self.encode_image(crops, masks), index, input_ids.shape[1])
        hidden = self.hidden_states(
            input_ids, features, position_ids=position_ids, segment_ids=segment_ids, cache=cache
        )
        logits: Tensor = self.transformer.ff_out(hidden)
        return logits

    def encode_image(self, crops: Tensor, masks: Tensor) -> Tensor:
        """What is added to the token embeddings: (B, C, P, 588), (B, C, P) -> (B, C, Q, D)."""
        flat = self.vision_backbone(crops.flatten(0, 1), masks.flatten(0, 1))
        features: Tensor = flat.unflatten(0, crops.shape[:2])
        return features

    def hidden_states(
        self,
        input_ids: Tensor,
        features: Tensor | None,
        *,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """The decoder without its head; features (B, T, D) as `place` lays them out."""
        is_token = input_ids != -1
        seen = cache.is_token[:, : cache.length].sum(1, keepdim=True) if cache else 0
        if position_ids is None:
            position_ids = (seen + is_token.cumsum(1) - 1).clamp(min=0)
        if cache is not None:
            cache.append(is_token)
            is_token = cache.is_token[:, : cache.length]
        mask = attention_mask(is_token, input_ids.shape[1], segment_ids)
        x = self.transformer.wte(input_ids)
        if features is not None:
            x = x + features.to(x.dtype)
        hidden: Tensor = self.transformer(x, position_ids, mask, cache)
        return hidden


def place(features: Tensor, index: Tensor, width: int) -> Tensor:
    """Lays the features of all crops out along the token sequence.

    features: (B, C, Q, D)
    index:    (B, C, Q) int64, position in the sequence; negative drops the feature
    returns:  (B, width, D), zero where no feature belongs
    """
    batch, depth = len(features), features.shape[-1]
    where = index.flatten(1).clamp(min=-1) + 1  # row 0 collects what is dropped
    rows = features.new_zeros(batch, width + 1, depth)
    rows = rows.scatter_add(1, where[..., None].expand(-1, -1, depth), features.flatten(1, 2))
    return rows[:, 1:]


def attention_mask(is_token: Tensor, new: int, segment_ids: Tensor | None = None) -> Tensor:
    """Which tokens the last `new` ones see: (B, S) bool -> (B, new, S) bool.

    Itself and earlier tokens, no padding, and of packed annotations only segments not below its
    own (the image has the highest). Padding sees itself, so that no row is empty.
    """
    total = is_token.shape[1]
    place_of = torch.arange(total, device=is_token.device)
    rows = place_of[total - new :, None]
    mask = (place_of <= rows) & is_token[:, None]
    if segment_ids is not None:
        mask = mask & (segment_ids[:, :, None] <= segment_ids[:, None, :])
    return mask | (place_of == rows)


@torch.inference_mode()
def generate(
    model: Molmo,
    input_ids: Tensor,
    crops: Tensor | None = None,
    masks: Tensor | None = None,
    index: Tensor | None = None,
    *,
    max_new_tokens: int,
    stop: Collection[int | str] = (),
    sampling: Sampling | None = None,
    decode: Callable[[list[int]], str] | None = None,
) -> Tensor:
    """Decodes with a KV cache, greedily unless told how to sample.

    input_ids: (B, T), right-padded with -1, as are crops, masks and index (see Molmo.forward)
    stop:      token ids that end a row, and strings that do so wherever they appear in its text;
               strings need `decode`, ids to text
    returns:   (B, n) int64, n <= max_new_tokens; a row is padded with -1 after what stopped it
    """
    device, length = input_ids.device, input_ids.shape[1]
    stops, chooser = _Stops(stop, decode), Chooser(sampling, device)
    cache, hidden = _read_prompt(model, input_ids, crops, masks, index, length + max_new_tokens)
    is_done = torch.zeros(len(input_ids), dtype=torch.bool, device=device)
    tokens = input_ids.new_empty(len(input_ids), 0)
    while True:
        chosen = chooser.choose(model.transformer.ff_out(hidden)).masked_fill(is_done, -1)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        is_done = is_done | stops.reached(tokens)
        if tokens.shape[1] == max_new_tokens or bool(is_done.all()):
            return tokens
        hidden = model.hidden_states(chosen[:, None], None, cache=cache)[:, 0]


def _read_prompt(
    model: Molmo,
    input_ids: Tensor,
    crops: Tensor | None,
    masks: Tensor | None,
    index: Tensor | None,
    capacity: int,
) -> tuple[KVCache, Tensor]:
    """A cache with the prompt in it, and the hidden state of each row's last token (B, D)."""
    weight = model.transformer.ff_out.weight
    cache = KVCache(model.config.decoder, len(input_ids), capacity, weight.dtype, weight.device)
    features = None
    if crops is not None and masks is not None and index is not None:
        encoded = model.encode_image(crops.to(weight.dtype), masks)
        features = place(encoded, index, input_ids.shape[1])
    hidden = model.hidden_states(input_ids, features, cache=cache)
    last = (input_ids != -1).sum(1) - 1
    return cache, hidden[torch.arange(len(last), device=last.device), last]


class _Stops:
    """Knows when a row has said enough."""

    def __init__(self, stop: Collection[int | str], decode: Callable[[list[int]], str] | None):
        self.ids = [one for one in stop if isinstance(one, int)]
        self.texts = [one for one in stop if isinstance(one, str)]
        self.decode = decode
        if self.texts and decode is None:
            raise ValueError(f"to stop at {self.texts}, generate needs `decode`")

    def reached(self, tokens: Tensor) -> Tensor:
        """Tokens (B, n) -> (B,) bool: whether the newest one ends its row."""
        found = torch.isin(tokens[:, -1], tokens.new_tensor(self.ids))
        if not self.texts or self.decode is None:
            return found
        said = [self.decode([t for t in row if t >= 0]) for row in tokens.tolist()]
        is_said = [any(text in words for text in self.texts) for words in said]
        return found | torch.tensor(is_said, device=tokens.device)
