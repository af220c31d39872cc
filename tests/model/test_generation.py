"""Generation beyond greedy float32: sampling, stops, padding, half precision."""

import pytest
import torch
from recipes import GOLDEN, hash_pixels

from molmo_model.molmo import generate
from molmo_model.sampling import Chooser, Sampling
from molmo_model.weights import load_model

PROMPT = torch.arange(3, 15)[None]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    return load_model(GOLDEN / "tiny-qwen2")


def words(ids: list[int]) -> str:
    """A text for every token, so that stop strings can span several."""
    return "".join(f"<{token}>" for token in ids)


def test_the_same_seed_draws_the_same_tokens_and_another_others(model):
    drawn = [
        generate(model, PROMPT, max_new_tokens=12, sampling=Sampling(temperature=2.0, seed=seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_narrow_top_p_is_greedy(model):
    greedy = generate(model, PROMPT, max_new_tokens=8)
    narrow = generate(model, PROMPT, max_new_tokens=8, sampling=Sampling(top_p=1e-6))
    assert torch.equal(greedy, narrow)


def test_tokens_are_drawn_as_often_as_they_are_likely():
    logits = torch.tensor([0.5, 0.3, 0.2]).log()
    chooser = Chooser(Sampling(top_p=0.79, seed=0), CPU)  # keeps the first two
    drawn = chooser.choose(logits.expand(20_000, -1))
    shares = torch.bincount(drawn, minlength=3) / len(drawn)
    # Three standard deviations of 20,000 draws are 0.01.
    assert torch.allclose(shares, torch.tensor([0.625, 0.375, 0.0]), atol=0.011)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_what_cannot_be_drawn_from_is_refused(wrong):
    with pytest.raises(ValueError, match="wanted a positive temperature"):
        Sampling(**wrong)


def test_a_stop_string_may_span_tokens(model):
    free = generate(model, PROMPT, max_new_tokens=10)[0].tolist()
    text = words(free[2:4])[2:-1]  # from within one token to within the next
    stopped = generate(model, PROMPT, max_new_tokens=10, stop=[text], decode=words)[0].tolist()
    assert stopped == free[: len(stopped)]
    assert text in words(stopped) and text not in words(stopped[:-1])


def test_a_stop_string_without_decoder_is_refused(model):
    with pytest.raises(ValueError, match="decode"):
        generate(model, PROMPT, max_new_tokens=2, stop=["x"])


def test_rows_end_on_their_own(model):
    prompts = torch.cat([PROMPT, PROMPT + 20])
    free = generate(model, prompts, max_new_tokens=8).tolist()
    stop = next(t for t in free[0] if t not in free[1])
    stopped = generate(model, prompts, max_new_tokens=8, stop=[stop]).tolist()
    end = free[0].index(stop) + 1
    assert stopped[0] == free[0][:end] + [-1] * (8 - end)
    assert stopped[1] == free[1]


def test_padding_on_the_right_changes_nothing(model):
    padded = torch.nn.functional.pad(PROMPT, (0, 5), value=-1)
    assert torch.equal(
        generate(model, PROMPT, max_new_tokens=8), generate(model, padded, max_new_tokens=8)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("variant", ["tiny-qwen2", "tiny-olmo", "tiny-moe"])
@torch.inference_mode()
def test_half_precision_is_near_float32(variant, dtype):
    crops = torch.from_numpy(hash_pixels(2, 101))[None]
    masks = torch.ones(1, 2, 576)
    index = torch.full((1, 2, 144), -100)
    index[0, 0, :6] = torch.arange(2, 8)
    logits = [
        load_model(GOLDEN / variant, dtype=one)(PROMPT, crops.to(one), masks, index).float()
        for one in (torch.float32, dtype)
    ]
    # Eight bits of mantissa through two layers; a wrong cast is off by more than the whole range.
    size = logits[0].abs().max()
    assert float((logits[0] - logits[1]).abs().mean()) < 0.03 * float(size)
    model = load_model(GOLDEN / variant, dtype=dtype)
    generated = generate(model, PROMPT, crops, masks, index, max_new_tokens=4)
    assert generated.shape == (1, 4)
