"""The course's tokenizer: byte-level byte-pair encoding, trained on the course's own text.

*Byte-level*: the alphabet is the 256 bytes, so every string has an encoding and comes back unchanged; there is
no unknown token. *Byte-pair encoding*: the most frequent neighbouring pair becomes a new token, again and again,
until the vocabulary is full (Sennrich et al. 2016, arXiv 1508.07909; on bytes: Radford et al. 2019, section 2.2).
Digits are never merged: a model that sees 1987 as four tokens can learn to add; one that sees it as a word cannot.
A space is put before every text and taken off again by ``decode``: a word that opens a text or an answer is then the
same token as in the middle of a sentence. Without it the model would have to learn every first word twice. (Where
special tokens cut a text into pieces, each piece gets its space, and ``decode`` takes off only the first.)
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from course_utils.text.documents import DataError, check_documents
from course_utils.text.special_tokens import ASSISTANT, CHAT_TEMPLATE, END, MASK, PAD, SPECIAL_TOKENS, SYSTEM, USER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + 256


def train_tokenizer(texts: Iterable[str], vocab_size: int = 1024) -> PreTrainedTokenizerFast:
    """Train a tokenizer on ``texts``. The same texts give the same tokenizer, in any process.

    vocab_size counts the six special tokens and the 256 bytes, so it must be 262 or more. If the texts hold
    fewer pairs than that, the vocabulary stays smaller: ``len(tokenizer)`` is the truth.

    No special token is added by ``tokenizer(text)``: rows and turns get theirs in batching.py and chat.py.
    Raises DataError for documents that are not text, ValueError for a vocabulary that is too small.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    if not isinstance(vocab_size, int) or vocab_size < SMALLEST_VOCABULARY:
        raise ValueError(
            f"vocab_size is {vocab_size!r}; at least {SMALLEST_VOCABULARY} is expected, the 256 bytes and the "
            f"{len(SPECIAL_TOKENS)} special tokens. Try vocab_size=1024."
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", left=1, right=0)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(check_documents(texts), trainer)
    return _wrap(tokenizer)


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerFast:
    """Read a tokenizer that ``save_pretrained`` wrote. Local files only, no remote code.

    Raises FileNotFoundError if the folder holds no ``tokenizer.json``, DataError if it is another kind of tokenizer.
    """
    from transformers import PreTrainedTokenizerFast

    folder = Path(folder)
    if not (folder / "tokenizer.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds no tokenizer.json. Give the folder that tokenizer.save_pretrained(folder) wrote."
        )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    found = tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS))
    if found != list(range(len(SPECIAL_TOKENS))):
        raise DataError(
            f"the tokenizer in {folder} gives {', '.join(SPECIAL_TOKENS)} the ids {found}; 0 to 5 are expected. "
            "It was not made by train_tokenizer; read it with transformers.AutoTokenizer instead."
        )
    return tokenizer


def encode_plain(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """The ids of each text, as text: a ``<|end|>`` that somebody typed stays seven characters, not a command.

    The ids of a beginning of a text are not always the first ids of the whole: cut texts only between words.
    """
    if not texts:
        return []
    backend = getattr(tokenizer, "backend_tokenizer", None)
    # Asked for ids alone, the backend takes half of the time. Nothing is set here: another thread may be encoding.
    if backend is not None and backend.encode_special_tokens and not (backend.padding or backend.truncation):
        return [encoding.ids for encoding in backend.encode_batch(texts, add_special_tokens=False)]
    encoded = tokenizer(
        texts, add_special_tokens=False, split_special_tokens=True, return_attention_mask=False, verbose=False
    )
    return encoded["input_ids"]


def _wrap(tokenizer) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=END,
        eos_token=END,
        mask_token=MASK,
        extra_special_tokens=[USER, ASSISTANT, SYSTEM],
        chat_template=CHAT_TEMPLATE,
        padding_side="right",
        truncation_side="right",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
