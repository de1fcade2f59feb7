"""What the steps share: the settings, the rows, the model, and conversations as tokens."""

from __future__ import annotations

import hashlib
import json
import os
import random
import tomllib
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
HERE = Path(__file__).resolve().parent
ROLES = ("system", "user", "assistant")
IGNORE = -100  # the label of a token that is read and not learned
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PLAIN = (  # for a base model without a template
    "{{ bos_token if bos_token else eos_token }}{% for m in messages %}"
    "{{ m['role'] | capitalize + ': ' + m['content'] }}"
    "{{ (eos_token if m['role'] == 'assistant' else '') + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def settings() -> dict[str, Any]:
    """config.toml, with the work folder made."""
    said = tomllib.loads((HERE / "config.toml").read_text(encoding="utf-8"))
    said["data"], said["work"] = HERE / said["data"], HERE / said["work"]
    said["work"].mkdir(exist_ok=True)
    return said


def device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def seed_all(seed: int) -> None:
    import torch

    random.seed(seed)
    torch.manual_seed(seed)


def as_messages(row: Any) -> list[dict[str, str]]:
    """A row as a conversation that ends with an answer. Raises ValueError, saying what is wrong."""
    if not isinstance(row, dict):
        raise ValueError(f"a {type(row).__name__}, not an object")
    if "messages" in row:
        messages = row["messages"]
    elif {"prompt", "completion"} <= row.keys():
        messages = _pair(row["prompt"], row["completion"])
    elif {"instruction", "output"} <= row.keys():
        given = row.get("input") or ""
        asked = f"{row['instruction']}\n\n{given}" if given else row["instruction"]
        messages = _pair(asked, row["output"])
    elif {"question", "answer"} <= row.keys():
        messages = _pair(row["question"], row["answer"])
    else:
        raise ValueError(f"unknown columns: {', '.join(map(str, row)) or 'none'}")
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages is no list, or empty")
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise ValueError(f"message {number} has no role of {', '.join(ROLES)}")
        if not isinstance(message.get("content"), str) or not message["content"].strip():
            raise ValueError(f"message {number} ({message['role']}) has no text")
    if messages[-1]["role"] != "assistant" or messages[0]["role"] == "assistant":
        raise ValueError("a conversation begins with a question and ends with an answer")
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def _pair(asked: Any, answer: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def read(path: Path) -> list[list[dict[str, str]]]:
    """The conversations that check_data.py wrote."""
    if not path.is_file():
        raise SystemExit(f"{path} is not there; run check_data.py first.")
    lines = path.read_text(encoding="utf-8").split("\n")  # splitlines would end one at U+2028, too
    return [json.loads(line)["messages"] for line in lines if line]


def load(said: dict[str, Any], folder: Path | None = None) -> tuple[Any, Any]:
    """The model and its tokenizer (from ``folder``, or the one that the settings name). Ends with a word of advice if
    it cannot be had."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = str(folder or _source(said))
    # an adapter is trained beside 16 bits; all weights would lose small steps in them
    dtype = torch.bfloat16 if device() == "cuda" and said["train"]["lora_r"] else torch.float32
    local = {"trust_remote_code": False, "local_files_only": Path(name).is_dir()}
    try:
        _refuse_code(name)
        tokenizer = AutoTokenizer.from_pretrained(name, **local)
        model = AutoModelForCausalLM.from_pretrained(name, use_safetensors=True, dtype=dtype, **local).to(device())
    except (OSError, ValueError, RuntimeError) as error:
        raise SystemExit(
            f"the model {name!r} cannot be loaded: {error}\nGive a folder with config.json, safetensors and the "
            "tokenizer's files, or a model of the Hub that can be reached or has been downloaded before."
        ) from error
    if tokenizer.eos_token is None:
        raise SystemExit(f"the tokenizer of {name!r} names no end token, so no answer could end; name one.")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN
    return model, tokenizer


def _source(said: dict[str, Any]) -> str | Path:
    if said["model"] == "tiny":
        return make_tiny(said["work"] / "tiny", read(said["work"] / "train.jsonl"), said["seed"])
    folder = HERE / said["model"]
    return folder if folder.is_dir() else said["model"]


def _refuse_code(name: str) -> None:
    for file in ("config.json", "tokenizer_config.json"):
        path = Path(name) / file
        if path.is_file() and "auto_map" in json.loads(path.read_text(encoding="utf-8")):
            raise ValueError(f"its {file} asks for Python code of its own (auto_map), which is not run.")


def make_tiny(folder: Path, conversations: list[list[dict[str, str]]], seed: int) -> Path:
    """A model with random weights and a tokenizer of the data's own words: good for nothing but a trial."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    if (folder / "model.safetensors").is_file():
        return folder
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    texts = [message["content"] for messages in conversations for message in messages]
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    names = {"pad_token": special[0], "eos_token": special[2]}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, chat_template=CHATML, **names)
    sizes = {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    seed_all(seed)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=1024, **sizes, **ends))
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def encode(messages: list[dict[str, str]], tokenizer: Any) -> tuple[list[int], list[int]]:
    """Token ids of a conversation, and labels: the id where the assistant speaks, -100 elsewhere.

    Where the assistant speaks is found by rendering: the text of the prompt for the answer, and the same with the
    answer, or, where the template rewrites earlier turns, the whole with another text in the answer's place.
    """
    text = render(messages, tokenizer)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    labels = [IGNORE] * len(encoded["input_ids"])
    ends = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before, hidden, after = messages[:number], {**message, "content": "\ue000"}, messages[number + 1 :]
        other = render([*before, hidden, *after], tokenizer)
        start = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), len(text))
        behind = text[start:]
        same = next((i for i in range(len(behind)) if i >= len(other) - start or text[-1 - i] != other[-1 - i]), 0)
        stop = len(text) - same
        prompt = render(before, tokenizer, add_generation_prompt=True)
        start = len(prompt) if text.startswith(prompt) else start
        rest = text[stop:].lstrip()
        tail = (
            render([*before, hidden], tokenizer).rpartition("\ue000")[2].lstrip()
        )  # without the next turn's beginning
        end = next((token for token in ends if tail.startswith(token)), None)
        if end is not None and rest.startswith(end):
            stop = len(text) - len(rest) + len(end)
        for i, (first, last) in enumerate(encoded["offset_mapping"]):
            if start < last <= stop and (first >= start or text[start:last].strip()):
                labels[i] = encoded["input_ids"][i]
    return encoded["input_ids"], labels


def render(messages: list[dict[str, str]], tokenizer: Any, **options: Any) -> str:
    """The text that the model's own chat template makes. Ends with a word of advice if it cannot."""
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, enable_thinking=False, **options)
    except (TemplateError, TypeError, KeyError, ValueError) as error:
        roles = ", ".join(message["role"] for message in messages)
        raise SystemExit(
            f"the model's chat template cannot be rendered with messages of {roles}: {error}. Give conversations that "
            "it allows, or mend chat_template in the model's tokenizer_config.json."
        ) from error


def stop_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends an answer: the tokenizer's, those of the model's settings, and the template's."""
    found = {tokenizer.eos_token_id}
    configured = model.generation_config.eos_token_id
    found |= set([configured] if isinstance(configured, int) else configured or [])
    _, labels = encode(_pair("Who?", "Mira."), tokenizer)
    last = [label for label in labels if label != IGNORE][-1]
    if tokenizer.convert_ids_to_tokens(last) in tokenizer.get_added_vocab():
        found.add(last)
    return sorted(found)


def digest(*parts: Any) -> str:
    """16 hex digits that stand for some settings and files."""
    made = hashlib.sha256()
    for part in parts:
        made.update(part.read_bytes() if isinstance(part, Path) else json.dumps(part, sort_keys=True).encode())
    return made.hexdigest()[:16]


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    aside = path.with_name(path.name + ".part")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
