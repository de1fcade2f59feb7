"""Masked language modelling: hide some tokens, and ask for them with both sides in view.

The rule is BERT's (Devlin et al. 2019, arXiv 1810.04805, section 3.1): 15 % of the tokens are asked for; of these,
80 % become ``<|mask|>``, 10 % another token at random, and 10 % stay as they are. The last two teach the model not to
trust a token merely because it is not masked, since no text that it will meet later holds a ``<|mask|>``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.text.batching import IGNORE, PackedBatches
from course_utils.text.special_tokens import MASK_ID, SPECIAL_TOKENS


def mask_tokens(
    input_ids: Tensor,
    mask_id: int = MASK_ID,
    vocab_size: int = 1024,
    generator: torch.Generator | None = None,
    share: float = 0.15,
) -> tuple[Tensor, Tensor]:
    """Corrupt a batch for masked language modelling.

    input_ids: (batch, length) int64. Returns the corrupted ids and the labels, both (batch, length): labels hold the
    original id where it is asked for, -100 elsewhere. Special tokens (ids below 6) are never asked for and never
    drawn. ``input_ids`` is left as it was.
    Raises ValueError for a share outside 0 to 1, or an id outside the vocabulary.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share!r}; a share of the tokens above 0 and up to 1 is expected, such as 0.15.")
    if not 0 <= mask_id < vocab_size or int(input_ids.max()) >= vocab_size:
        raise ValueError(
            f"vocab_size is {vocab_size}, mask_id {mask_id} and the largest id {int(input_ids.max())}; "
            "ids below vocab_size are expected. Give vocab_size=len(tokenizer) of the tokenizer that made the ids."
        )
    device = generator.device if generator is not None else torch.device("cpu")
    first = len(SPECIAL_TOKENS)
    chance = torch.rand(input_ids.shape, generator=generator, device=device).to(input_ids.device)
    asked = (chance < share) & (input_ids >= first)
    kind = torch.rand(input_ids.shape, generator=generator, device=device).to(input_ids.device)
    other = torch.randint(first, vocab_size, input_ids.shape, generator=generator, device=device).to(input_ids.device)
    corrupted = input_ids.masked_fill(asked & (kind < 0.8), mask_id)
    corrupted = torch.where(asked & (kind >= 0.9), other, corrupted)
    return corrupted, input_ids.masked_fill(~asked, IGNORE)


class MaskedBatches(PackedBatches):
    """Packed rows, corrupted anew at each step: what ``masked_token_loss`` trains on.

    ``batches[step]`` holds input_ids (corrupted) and labels (-100 where nothing is asked for); the corruption depends
    on the seed and the step alone.
    """

    def __init__(self, rows: Tensor, batch_size: int, seed: int = 0, vocab_size: int = 1024, share: float = 0.15):
        super().__init__(rows, batch_size, seed)
        self.vocab_size, self.share = vocab_size, share

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed((self.seed << 32) + step)
        rows = super().__getitem__(step)["input_ids"]
        corrupted, labels = mask_tokens(rows, MASK_ID, self.vocab_size, generator, self.share)
        return {"input_ids": corrupted, "labels": labels}
