"""The same model in other engines, behind one interface: llama.cpp, CTranslate2 and ONNX Runtime.

Each is a compiled wheel. Where a platform has none, ``ExportError`` says so and the rest goes on.
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_utils.serving.export import ExportError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from course_utils.models.decoder import DecoderConfig

Prompts = Sequence[Sequence[int]]


def wheel(name: str) -> Any:
    """The module of an optional wheel. Raises ExportError where it is not installed or cannot be loaded."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise ExportError(
            f"{name} cannot be loaded here ({error}). Install it with `pip install 'llm-course[exports]'`; if there is "
            "no wheel for your platform, leave this engine out."
        ) from error


class LlamaCpp:
    """A GGUF file in llama.cpp, through the prebuilt wheel xllamacpp.

    slots: requests at once, each with ``context`` tokens. exact: attention and cache in 32 bits as ours; by default
    llama.cpp keeps the cache in 16 bits, and takes its fused attention, also on a CPU. Raises ExportError.
    """

    def __init__(
        self, path: str | PathLike[str], *, context: int = 256, slots: int = 32, threads: int = 1, exact: bool = True
    ) -> None:
        x = wheel("xllamacpp")
        options = x.CommonParams()
        options.model.path = os.fspath(path)
        options.n_parallel, options.n_ctx = slots, slots * context
        options.cpuparams.n_threads = options.cpuparams_batch.n_threads = threads
        options.warmup, options.verbosity = False, 0
        options.port, options.api_keys = 0, [secrets.token_urlsafe(16)]  # it listens, on 127.0.0.1: not to anybody
        if exact:
            options.flash_attn_type = x.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
            options.cache_type_k = options.cache_type_v = x.ggml_type.GGML_TYPE_F32
        try:
            self.server = x.Server(options)
        except Exception as error:
            raise ExportError(f"llama.cpp cannot load {path}: {error}") from error
        self.url, self.token = self.server.listening_address, options.api_keys[0]

    def logprobs(self, prompt: Sequence[int], vocab_size: int) -> Tensor:
        """Log-probabilities (vocab,) of what follows the prompt."""
        # llama.cpp leaves all probabilities out if the token that it draws is a piece of a character. So it is made to
        # draw a letter: the probabilities that it tells are those before any bias.
        letter = {"logit_bias": [[self.tokenize("a")[-1], 1000.0]]}
        asked = {"prompt": list(prompt), "max_tokens": 1, "n_probs": vocab_size, "logprobs": vocab_size}
        answer = self._ask(asked | letter)
        found = torch.full((vocab_size,), float("nan"))
        for row in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            found[row["id"]] = row["logprob"]
        return found

    def answers(self, prompts: Prompts, new_tokens: int) -> list[str]:
        """Greedy answers, all prompts in one request."""
        rows = [list(prompt) for prompt in prompts]
        choices = self._ask({"prompt": rows, "max_tokens": new_tokens})["choices"]
        return [choice["text"] for choice in sorted(choices, key=lambda choice: choice["index"])]

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """The ids that llama.cpp cuts a text into, by the rule that the file names. special: what looks like a special
        token is one."""
        import httpx

        headers = {"Authorization": f"Bearer {self.token}"}
        body = {"content": text, "parse_special": special}
        return httpx.post(f"{self.url}/tokenize", json=body, headers=headers).raise_for_status().json()["tokens"]

    def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.server.handle_completions({"temperature": 0, "cache_prompt": False, **body})
        answer = json.loads(answer) if isinstance(answer, str | bytes) else answer
        if "choices" not in answer:
            raise ExportError(f"llama.cpp refused the request: {answer}")
        return answer


class CTranslate2:
    """A folder of ``write_release`` converted for CTranslate2. quantization: None for 32 bits, or "int8", ...

    Raises ExportError.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        out: str | PathLike[str],
        tokenizer: PreTrainedTokenizerFast,
        *,
        quantization: str | None = None,
        threads: int = 1,
    ) -> None:
        library = wheel("ctranslate2")
        converters = wheel("ctranslate2.converters")
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        scaling = (config.get("rope_parameters") or {}).get("rope_type", "default")
        if scaling not in ("default", "linear"):
            raise ExportError(
                f"the model scales its rotary positions by {scaling!r}, which CTranslate2 4.8 converts without a word "
                "and then leaves out: the answers would be wrong. Export it to another engine."
            )
        converters.TransformersConverter(os.fspath(folder)).convert(
            os.fspath(out), quantization=quantization, force=True
        )
        kind = quantization or "float32"
        self.generator = library.Generator(os.fspath(out), device="cpu", intra_threads=threads, compute_type=kind)
        self.tokenizer = tokenizer

    def logprobs(self, prompt: Sequence[int], vocab_size: int) -> Tensor:
        """Log-probabilities (vocab,) of what follows the prompt."""
        import numpy as np

        logits = np.array(self.generator.forward_batch([list(prompt)]))
        return torch.from_numpy(logits)[0, -1, :vocab_size].log_softmax(-1)

    def answers(self, prompts: Prompts, new_tokens: int) -> list[str]:
        """Greedy answers, all prompts in one batch."""
        rows = [self.tokenizer.convert_ids_to_tokens(list(prompt)) for prompt in prompts]
        found = self.generator.generate_batch(
            rows, max_length=new_tokens, sampling_topk=1, include_prompt_in_result=False, max_batch_size=len(rows)
        )
        return self.tokenizer.batch_decode([row.sequences_ids[0] for row in found], skip_special_tokens=True)


class OnnxRuntime:
    """A file of ``write_onnx`` in ONNX Runtime, with the loop of greedy decoding around it. Raises ExportError."""

    def __init__(
        self, path: str | PathLike[str], config: DecoderConfig, tokenizer: PreTrainedTokenizerFast, *, threads: int = 1
    ) -> None:
        library = wheel("onnxruntime")
        options = library.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = library.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
        self.config, self.tokenizer = config, tokenizer

    def logprobs(self, prompt: Sequence[int], vocab_size: int) -> Tensor:
        """Log-probabilities (vocab,) of what follows the prompt."""
        logits, *_ = self._read(*self._padded([prompt]), *self._empty(1))
        return torch.from_numpy(logits)[0, :vocab_size].log_softmax(-1)

    def answers(self, prompts: Prompts, new_tokens: int) -> list[str]:
        """Greedy answers, all prompts in one batch, until the last one has ended."""
        import numpy as np

        ids, mask, positions = self._padded(prompts)
        past = self._empty(len(prompts))
        rows: list[list[int]] = [[] for _ in prompts]
        done, end = np.zeros(len(prompts), bool), self.tokenizer.eos_token_id
        for _ in range(new_tokens):
            logits, *past = self._read(ids, mask, positions, *past)
            ids = logits.argmax(-1)[:, None]
            done |= ids[:, 0] == end
            for row in np.flatnonzero(~done):
                rows[row].append(int(ids[row, 0]))
            if done.all():
                break
            mask = np.concatenate((mask, np.ones_like(ids)), 1)
            positions = positions[:, -1:] + 1
        return self.tokenizer.batch_decode(rows, skip_special_tokens=True)

    def _padded(self, prompts: Prompts) -> tuple[Any, Any, Any]:
        """Ids, mask and positions (batch, longest), padded on the left."""
        import numpy as np

        width = max(map(len, prompts))
        ids = np.array([[0] * (width - len(row)) + list(row) for row in prompts], np.int64)
        mask = np.array([[0] * (width - len(row)) + [1] * len(row) for row in prompts], np.int64)
        return ids, mask, np.maximum(mask.cumsum(1) - 1, 0)

    def _empty(self, batch: int) -> list[Any]:
        import numpy as np

        config = self.config
        shape = (config.num_hidden_layers, batch, config.num_key_value_heads, 0, config.head_dim)
        return [np.zeros(shape, np.float32)] * 2

    def _read(self, ids: Any, mask: Any, positions: Any, keys: Any, values: Any) -> list[Any]:
        names = ("input_ids", "attention_mask", "position_ids", "past_keys", "past_values")
        return self.session.run(None, dict(zip(names, (ids, mask, positions, keys, values), strict=True)))
