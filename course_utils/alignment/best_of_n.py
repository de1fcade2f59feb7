"""Best of n: draw n answers, keep the one that the reward model likes most. No training, n times the price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from course_utils.alignment.reward_model import reward_scores
from course_utils.alignment.rollouts import MISSING_EOS_PENALTY
from course_utils.models.generate import generate
from course_utils.text.chat import encode_prompts, generation_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def sample_completions(
    policy: nn.Module,
    reward: nn.Module | None,
    tokenizer: PreTrainedTokenizerFast,
    tasks: Sequence[Mapping[str, Any]],
    n: int,
    max_new_tokens: int = 32,
    seed: int = 0,
    batch_size: int = 32,
    missing_eos_penalty: float = MISSING_EOS_PENALTY,
) -> tuple[list[list[str]], Tensor]:
    """``n`` answers to each task, drawn at temperature 1, and the reward model's scores of them (tasks, n).

    ``missing_eos_penalty`` is taken off the score of an answer that was cut before its end, as PPO does. Without a
    reward model (None) every other score is 0: for a caller who has another judge.
    """
    if n < 1:
        raise ValueError(f"n is {n}; draw at least one answer.")
    prompts = encode_prompts([[{"role": "user", "content": str(task["prompt"])}] for task in tasks], tokenizer)
    drawn: list[list[str]] = []
    ids = generation_ids(tokenizer, policy)
    cut: list[Tensor] = []
    for start in range(0, len(prompts), batch_size):
        rows = [prompt for prompt in prompts[start : start + batch_size] for _ in range(n)]
        out = generate(policy, rows, max_new_tokens=max_new_tokens, temperature=1.0, seed=seed + start, **ids)
        texts = [text.strip() or "." for text in out.texts(tokenizer)]  # a chat has no blank answers
        drawn += [texts[i : i + n] for i in range(0, len(texts), n)]
        cut.append(~out.stopped.cpu())
    pairs = [(str(task["prompt"]), text) for task, texts in zip(tasks, drawn, strict=True) for text in texts]
    scores = torch.zeros(len(pairs))
    if reward is not None:  # an answer that was drawn twice is read once
        different = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
        scores = reward_scores(reward, list(different), tokenizer)[[different[pair] for pair in pairs]]
    scores = scores - missing_eos_penalty * torch.cat(cut).float()
    return drawn, scores.view(len(tasks), n)


def best_of(drawn: Sequence[Sequence[str]], scores: Tensor, n: int) -> list[str]:
    """For each task the answer with the highest score among its first ``n``."""
    if not 1 <= n <= scores.shape[1]:
        raise ValueError(f"n is {n}; {scores.shape[1]} answers were drawn to each task.")
    return [texts[i] for texts, i in zip(drawn, scores[:, :n].argmax(1).tolist(), strict=True)]


def best_of_n_kl(n: int) -> float:
    """How far best-of-n is from the policy, in nats: log n - (n - 1) / n.

    As used since Stiennon et al. (arXiv 2009.01325, appendix G.3); an upper bound where answers can repeat (arXiv
    2401.01879).
    """
    return log(n) - (n - 1) / n
