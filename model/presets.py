"""The four published models of September 2024, by their exact sizes.

What their config.json files say; for those who want the sizes without the files.
"""

from __future__ import annotations

from molmo_model.config import DecoderConfig, ExpertsConfig, MolmoConfig

MOLMO_7B_D = MolmoConfig(
    decoder=DecoderConfig(
        vocab_size=152_064,
        embedding_size=152_064,
        width=3584,
        mlp=18_944,
        layers=28,
        heads=28,
        kv_heads=4,
        norm_eps=1e-6,
        rope_theta=1e6,
    )
)

MOLMO_7B_O = MolmoConfig(
    decoder=DecoderConfig(
        vocab_size=100_278,
        embedding_size=100_352,
        width=4096,
        mlp=11_008,
        layers=32,
        heads=32,
        kv_heads=32,
        norm_eps=1e-6,
        rope_theta=5e5,
        qkv_bias=False,
        qk_norm=True,
        norm_after=True,
    )
)

MOLMO_72B = MolmoConfig(
    decoder=DecoderConfig(
        vocab_size=152_064,
        embedding_size=152_064,
        width=8192,
        mlp=29_568,
        layers=80,
        heads=64,
        kv_heads=8,
        norm_eps=1e-5,
        rope_theta=1e6,
    )
)

MOLMOE_1B = MolmoConfig(
    decoder=DecoderConfig(
        vocab_size=50_280,
        embedding_size=50_304,
        width=2048,
        mlp=1024,
        layers=16,
        heads=16,
        kv_heads=16,
        norm_eps=1e-5,
        rope_theta=1e4,
        qkv_bias=False,
        qk_norm=True,
        experts=ExpertsConfig(count=64, chosen=8),
    )
)

PRESETS = {
    "Molmo-7B-D-0924": MOLMO_7B_D,
    "Molmo-7B-O-0924": MOLMO_7B_O,
    "Molmo-72B-0924": MOLMO_72B,
    "MolmoE-1B-0924": MOLMOE_1B,
}
