"""What a language model goes on with: always the likeliest token, so that equal weights write equal texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, PreTrainedModel

MOST_TOKENS = 32
"""Of a continuation."""


def write(
    model: PreTrainedModel, prompts: Sequence[np.ndarray], *, longest: int, end: int | None, pad: int
) -> list[np.ndarray]:
    """The tokens that follow each prompt, int64, up to the token `end`, or until prompt and they are `longest` tokens."""
    model.train(False)
    own, model.generation_config = model.generation_config, _plan()  # which may punish repetitions
    try:
        with torch.no_grad():
            return [_go_on(model, prompt, min(MOST_TOKENS, longest - len(prompt)), end, pad) for prompt in prompts]
    finally:
        model.generation_config = own


def _go_on(model: PreTrainedModel, prompt: np.ndarray, room: int, end: int | None, pad: int) -> np.ndarray:
    ids = torch.from_numpy(prompt[None]).to(model.device)
    plan = _plan(max_new_tokens=room, eos_token_id=end, pad_token_id=pad, use_cache=True)
    generate: Any = model.generate
    whole = generate(ids, attention_mask=torch.ones_like(ids), generation_config=plan)
    return np.asarray(whole[0, len(prompt) :].cpu().numpy())


def _plan(**more: Any) -> GenerationConfig:
    return GenerationConfig(do_sample=False, **more)  # type: ignore[no-untyped-call]
