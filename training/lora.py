"""Low-rank adapters (LoRA, Hu et al. 2021) through peft: a few weights beside frozen ones.

They sit in the linear layers of decoder and ViT. A checkpoint holds them merged into the published
layout, and apart as an adapter. Knows nothing of runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from molmo_model.molmo import Molmo
from molmo_training.distributed import whole

ADAPTER = "default"  # peft's own name of the one adapter
# Of decoder blocks, dense or of experts, and of ViT blocks.
TARGETS = (
    r"transformer\.blocks\.\d+\..*(att_proj|attn_out|ff_proj|ff_out|up_proj|gate_proj|down_proj)"
    r"|vision_backbone\.image_vit\.transformer\.resblocks\.\d+\..*(wq|wk|wv|wo|w1|w2)"
)


@dataclass(frozen=True, kw_only=True)
class Lora:
    """The rank of the adapters; alpha / rank scales what they add."""

    rank: int = 16
    alpha: int = 32


def adapt(model: Molmo, config: Lora) -> None:
    """Freezes a model and puts adapters beside its linear layers; they add nothing yet."""
    from peft import LoraConfig, inject_adapter_in_model

    settings = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=TARGETS)
    inject_adapter_in_model(settings, model)


def is_adapted(model: Molmo) -> bool:
    """Whether a model has adapters."""
    return any(".base_layer." in name for name, _ in model.named_parameters())


def merged_weights(model: Molmo) -> Iterator[tuple[str, Tensor]]:
    """The weights by the names of a model without adapters, what these add added."""
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            continue
        owner, is_base, _ = name.partition(".base_layer.weight")
        if not is_base:
            yield name.replace(".base_layer.", "."), parameter
            continue
        layer: Any = model.get_submodule(owner)
        down = whole(layer.lora_A[ADAPTER].weight)
        up = whole(layer.lora_B[ADAPTER].weight)
        yield f"{owner}.weight", whole(parameter) + up @ down * layer.scaling[ADAPTER]


def adapter_weights(model: Molmo) -> dict[str, Tensor]:
    """The adapters alone, whole, by the names in peft's files; all processes must call."""
    return {
        f"base_model.model.{name.replace(f'.{ADAPTER}.', '.')}": whole(parameter).detach().cpu()
        for name, parameter in model.named_parameters()
        if ".lora_" in name
    }


def save_adapter(model: Molmo, weights: dict[str, Tensor], directory: Path) -> None:
    """Writes what `peft.PeftModel.from_pretrained` reads."""
    directory.mkdir(exist_ok=True)
    save_file(weights, directory / "adapter_model.safetensors")
    settings: Any = model.peft_config
    settings[ADAPTER].save_pretrained(directory)
