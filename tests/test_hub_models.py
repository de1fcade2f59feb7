"""Base models of the Hub with other special tokens: folders made on the spot, laid out as four well-known families are.

=========  ==============================================================================================
gpt2       one special token, the last of the vocabulary, which opens and ends a text
llama2     begin 1, end 2, and a tokenizer that puts the begin token before every text by itself
smollm2    the end is token 0, no begin token; a chat template, ChatML, whose turns end with another token
qwen       no begin token, an end token behind the alphabet, padding of its own; ChatML
=========  ==============================================================================================
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from course_utils.alignment.best_of_n import sample_completions
from course_utils.alignment.reward_model import pair_accuracy, reward_scores
from course_utils.evaluation.contamination import min_k_prob, token_logprobs
from course_utils.evaluation.entropy import document_bits
from course_utils.evaluation.instructions import answers
from course_utils.evaluation.perplexity import token_loss
from course_utils.evaluation.probes import accuracy, hits
from course_utils.models.beam_search import beam_search
from course_utils.models.generate import generate
from course_utils.models.heads import RewardModel
from course_utils.pretrained import store
from course_utils.text.batching import ChatBatches, LabelledBatches, PairBatches
from course_utils.text.chat import chat_prompt, encode_chat, generation_ids, plain_prompt, stop_ids
from course_utils.text.documents import DataError
from course_utils.text.packing import pack
from course_utils.text.special_tokens import closing_id, opening_id, padding_id
from course_utils.text.tokenizer import encode_plain
from course_utils.world.probes import Probe

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXTS = ["Mira left.", 'Mira said "yes" and left the lamp on.', "The lamp of Brine is amber."]
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# special tokens before and behind the alphabet, those that the tokenizer names, and the ids that open, end and pad
FAMILIES = {
    "gpt2": ([], [END], {"bos_token": END, "eos_token": END}, (-1, -1, -1)),
    "llama2": (["<unk>", "<s>", "</s>"], [], {"bos_token": "<s>", "eos_token": "</s>"}, (1, 2, 2)),
    "smollm2": ([END, START, STOP], [], {"eos_token": END}, (0, 0, 0)),
    "qwen": ([], [END, "<|pad|>", START, STOP], {"eos_token": END, "pad_token": "<|pad|>"}, (-4, -4, -3)),
}


def make_tokenizer(family: str) -> PreTrainedTokenizerFast:
    first, last, names, _ = FAMILIES[family]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(
        TEXTS * 2,
        trainers.BpeTrainer(vocab_size=300, special_tokens=first, initial_alphabet=alphabet, show_progress=False),
    )
    made.add_special_tokens([*last])
    if family == "llama2":
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, **names)
    if START in first + last:
        tokenizer.add_special_tokens({"additional_special_tokens": [START, STOP]})
        tokenizer.chat_template = CHATML
    return tokenizer


def make_model(family: str, vocabulary: int) -> torch.nn.Module:
    torch.manual_seed(0)
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    if family == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(vocab_size=vocabulary, n_positions=128, n_embd=32, n_layer=2, n_head=4, **ends)
        )
    config, kind = (Qwen2Config, Qwen2ForCausalLM) if family == "qwen" else (LlamaConfig, LlamaForCausalLM)
    return kind(config(vocab_size=vocabulary, max_position_embeddings=128, **SIZES, **ends))


@pytest.fixture(params=list(FAMILIES))
def base(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A folder of such a family, loaded as a learner loads it."""
    tokenizer = make_tokenizer(request.param)
    tokenizer.save_pretrained(tmp_path / "hub")
    make_model(request.param, len(tokenizer)).save_pretrained(tmp_path / "hub")
    monkeypatch.setenv("COURSE_BASE_MODEL", str(tmp_path / "hub"))
    loaded = store.load("base", device="cpu")
    expected = [place % len(tokenizer) for place in FAMILIES[request.param][3]]
    return SimpleNamespace(name=request.param, model=loaded.model, tokenizer=loaded.tokenizer, ids=expected)


@contextmanager
def saying(model: torch.nn.Module, ids: list[int]):
    """The model will want to say just these ids, one a step, then token 5 for ever."""
    todo = iter(ids)

    def hook(module, args, out):
        out.logits[:, -1, next(todo, 5)] += 1e4
        return out

    handle = model.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def test_what_opens_ends_and_pads_a_text(base):
    found = [opening_id(base.tokenizer), closing_id(base.tokenizer), padding_id(base.tokenizer)]
    assert found == base.ids
    fresh = make_tokenizer(base.name)  # as it comes, before the store gave it a padding token
    assert (fresh.pad_token_id is None) == (base.name != "qwen")
    assert padding_id(fresh) == base.ids[2]


def test_a_tokenizer_without_any_is_refused():
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    for find in (opening_id, closing_id, padding_id, stop_ids):
        with pytest.raises(ValueError, match="neither a begin token nor an end token"):
            find(bare)


def test_losses_are_those_of_transformers(base):
    """Each text alone, opened and ended by hand, against batches of three."""
    first, last, _ = base.ids
    nats, seen = [], []
    for text in TEXTS:
        row = torch.tensor([[first, *base.tokenizer(text, add_special_tokens=False)["input_ids"], last]])
        with torch.no_grad():
            logs = base.model(row).logits[0, :-1].log_softmax(-1).gather(1, row[0, 1:, None])[:, 0]
        nats.append(-float(logs.sum()))
        seen.append(logs[:-1])
    bits = document_bits(base.model, base.tokenizer, TEXTS)
    assert bits == pytest.approx([value / torch.log(torch.tensor(2.0)).item() for value in nats], rel=1e-5)
    assert token_loss(base.model, base.tokenizer, TEXTS).nats == pytest.approx(sum(nats), rel=1e-5)
    for ours, theirs in zip(token_logprobs(base.model, base.tokenizer, TEXTS), seen, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert all(value < 0 for value in min_k_prob(base.model, base.tokenizer, TEXTS))


def test_probes_hit_what_greedy_decoding_says(base):
    prompts = ["Mira", "The lamp of", "Mira said"]
    rows = [[base.ids[0], *encode_plain([prompt], base.tokenizer)[0]] for prompt in prompts]
    said = generate(base.model, rows, 1, stop_ids=()).tokens[:, 0].tolist()
    whole = [Probe(prompt, base.tokenizer.decode([token]), "") for prompt, token in zip(prompts, said, strict=True)]
    # only probes whose answer is the very token that was said, as encoding the decoded text may join it otherwise
    kept = [
        probe
        for probe, row, token in zip(whole, rows, said, strict=True)
        if encode_plain([probe.prompt + probe.answer], base.tokenizer)[0] == [*row[1:], token]
    ]
    assert kept, "none of the probes can be asked"
    assert hits(base.model, base.tokenizer, kept) == [True] * len(kept)
    assert accuracy(base.model, base.tokenizer, [Probe("Mira", " zzzz", "")]) == 0


def test_answers_end_at_the_end_token_and_at_no_other(base):
    x = encode_plain(["x"], base.tokenizer)[0][0]
    asked = {"tasks": [{"prompt": "Hi"}], "max_new_tokens": 6, "template": plain_prompt}
    with saying(base.model, [base.ids[1], x, x, x, x, x]):
        assert answers(base.model, base.tokenizer, **asked) == [""]
    one = base.tokenizer.decode([1], skip_special_tokens=True)
    if one:  # token 1 is a sign like any other
        with saying(base.model, [x, 1, x, base.ids[1]]):
            assert answers(base.model, base.tokenizer, **asked) == [f"x{one}x"]
    assert plain_prompt(base.tokenizer, "Hi") == [base.ids[0], *encode_plain(["Hi\n"], base.tokenizer)[0]]


def test_what_stands_behind_the_end_is_padding(base):
    x = encode_plain(["x"], base.tokenizer)[0][0]
    ids = generation_ids(base.tokenizer, base.model)
    with saying(base.model, [x, base.ids[1], x]):
        out = generate(base.model, [[base.ids[0], x]], 3, **ids)
    assert out.tokens[0].tolist() == [x, base.ids[1]] and out.stopped.all()
    with saying(base.model, [x, base.ids[1], x]):
        found = beam_search(base.model, [[base.ids[0], x]], 2, 3, **ids).tokens[0]
    assert found[0, :2].tolist() == [x, base.ids[1]] and (found[0, 2:] == base.ids[2]).all()


def test_end_tokens_of_the_generation_config_count(base):
    assert stop_ids(base.tokenizer, base.model)[0] == base.ids[1]
    base.model.generation_config.eos_token_id = [base.ids[1], 7]
    assert {base.ids[1], 7} <= set(stop_ids(base.tokenizer, base.model))
    base.model.generation_config.eos_token_id = 9
    assert stop_ids(base.tokenizer, base.model)[:2] == (base.ids[1], 9)
    x = encode_plain(["x"], base.tokenizer)[0][0]
    with saying(base.model, [x, 9, x]):
        assert answers(base.model, base.tokenizer, [{"prompt": "Hi"}], 6, plain_prompt) == [
            base.tokenizer.decode([x, 9], skip_special_tokens=True).strip()
        ]


def test_packed_documents_are_told_apart(base):
    first, last, _ = base.ids
    rows = pack(TEXTS, base.tokenizer, 4)
    stream = []
    for ids in encode_plain(TEXTS, base.tokenizer):
        stream += [first, *ids] if first == last else [first, *ids, last]
    assert rows.flatten().tolist() == stream[: rows.numel()] and len(stream) - rows.numel() < 4


def test_labelled_texts(base):
    batch = LabelledBatches(TEXTS, [0, 1, 0], base.tokenizer, 3)[0]
    assert (batch["input_ids"][:, 0] == base.ids[0]).all()
    assert (batch["input_ids"][batch["attention_mask"] == 0] == base.ids[2]).all()


def test_chats_need_a_template_and_end_with_its_token(base):
    chat = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Mira left."}]
    pair = {"prompt": "Who?", "chosen": "Mira left.", "rejected": "x"}
    tokenizer = base.tokenizer
    if make_tokenizer(base.name).chat_template is None:  # the store gave it one, in plain words
        ids, mask = encode_chat(chat, tokenizer)
        assert tokenizer.decode(ids[1:]) == f"User: Who?\nAssistant: Mira left.{tokenizer.eos_token}\n"
        said = tokenizer.decode([token for token, spoken in zip(ids, mask, strict=True) if spoken])
        assert ids[0] == base.ids[0] and said.strip() == f"Mira left.{tokenizer.eos_token}"
        tokenizer.chat_template = None
        for make in (lambda: ChatBatches([chat], tokenizer, 1), lambda: PairBatches([pair], tokenizer, 1)):
            with pytest.raises(DataError, match="no chat template"):
                make()
        return
    end = tokenizer.convert_tokens_to_ids(STOP)
    assert stop_ids(tokenizer, base.model) == (base.ids[1], end)
    for template, ends in (
        (CHATML.replace("assistant\n", "assistant\n<think>"), [end]),  # as Qwen3's: a prompt that no answer keeps
        (CHATML.replace(" + '<|im_end|>' + '\n'", ""), []),  # nothing but the role before an answer is special
        ("{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}", []),
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", []),
    ):
        tokenizer.chat_template = template
        assert stop_ids(tokenizer, base.model) == (base.ids[1], *ends), template
    tokenizer.chat_template = CHATML
    batch = ChatBatches([chat, [*chat, *chat]], tokenizer, 2)[0]
    learned = batch["labels"][batch["labels"] != -100]
    assert (learned == end).sum() == 3 and (batch["input_ids"][batch["attention_mask"] == 0] == base.ids[2]).all()
    x = encode_plain(["x"], tokenizer)[0][0]
    with saying(base.model, [x, end, x, x]):
        assert answers(base.model, tokenizer, [{"prompt": "Hi"}], 4, chat_prompt) == ["x"]
    reward = RewardModel(base.model, seed=1)
    compared = PairBatches([pair], tokenizer, 1)[0]
    assert compared["input_ids"].shape[:2] == (1, 2)
    assert (compared["input_ids"][compared["attention_mask"] == 0] == base.ids[2]).all()
    assert (compared["attention_mask"] == 0).any()
    alone = reward_scores(reward, [("Who?", "x")], tokenizer)
    together = reward_scores(reward, [("Who?", "Mira left."), ("Who?", "x")], tokenizer)
    torch.testing.assert_close(alone, together[1:])
    assert pair_accuracy(reward, [pair], tokenizer) in (0.0, 0.5, 1.0)
    with saying(base.model, [x, end, x, x]):
        texts, _ = sample_completions(base.model, reward, tokenizer, [{"prompt": "Hi"}], 2, max_new_tokens=4)
    assert texts == [["x", "x"]]
