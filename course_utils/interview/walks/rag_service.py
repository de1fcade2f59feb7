"""Design walk: answers from twenty million passages, found, ranked and read within half a second."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from course_utils.interview.walks.frame import (
    H100,
    H100_BANDWIDTH,
    H100_FLOPS,
    YOURS,
    Choice,
    Given,
    Limit,
    Step,
    Trap,
    Walk,
)

# A pilot's figures, to be replaced by your own: how often the right passage is among the first k, what fewer numbers
# per vector and fewer bits per number leave of that, and how often a reranker keeps it among the first k.
RECALL = {1: 0.48, 5: 0.71, 10: 0.79, 20: 0.86, 50: 0.91, 100: 0.94, 200: 0.955}
DIMENSIONS = {256: 0.94, 512: 0.97, 1024: 1.0}
BITS = {1: 0.90, 8: 0.995, 32: 1.0}
KEPT = {1: 0.70, 3: 0.88, 5: 0.94, 10: 0.97, 20: 0.99, 50: 1.0, 200: 1.0}


def between(table: Mapping[int, float], k: float) -> float:
    """The value at ``k``, straight between the entries on a logarithmic axis."""
    keys = sorted(table)
    k = min(max(k, keys[0]), keys[-1])
    low = max(key for key in keys if key <= k)
    high = min(key for key in keys if key >= k)
    part = 0.0 if low == high else math.log(k / low) / math.log(high / low)
    return table[low] + part * (table[high] - table[low])


def calculate(c: Any, g: Any) -> dict[str, float]:
    """What is found, what it costs to keep, to rank and to read. Vectors in a graph: HNSW, arXiv 1603.09320."""
    found = between(RECALL, c.retrieved if c.reranked else c.passed) * DIMENSIONS[int(c.dimensions)] * BITS[int(c.bits)]
    recall = found * (between(KEPT, c.passed) if c.reranked else 1.0)
    links = 2 * g.neighbours * 4  # the lowest layer of the graph, four bytes each
    prompt = g.instruction + c.passed * g.passage
    reading = 2 * g.parameters * prompt / (g.peak * g.mfu)
    ranking = c.retrieved * g.rerank_seconds if c.reranked else 0.0
    writing = g.answer * 2 * g.parameters / (g.bandwidth * g.mbu) / g.batch  # of GPU time: a pass serves the batch
    return {
        "recall": recall,
        "ttft": g.search_seconds + ranking + reading,
        "dollars": 1000 * (reading + ranking + writing) * g.price / 3600,
        "index": g.passages * (c.dimensions * c.bits / 8 + links) / 1e9,
        "reindex_hours": g.passages * g.passage / (c.reindex_gpus * g.embed_rate) / 3600,
        "prompt_tokens": prompt,
    }


WALK = Walk(
    name="rag_service",
    title="A service that answers from documents",
    minutes=20,
    roles=("inference", "post-training", "generalist"),
    task=(
        "A firm's twenty million passages are to answer its people's questions, with citations. The pilot's "
        "recall over"
        "k is known. Choose the vectors, how many passages are found, ranked and read, and how the index is made anew."
    ),
    given={
        "passages": Given(20e6, "", "passages", YOURS),
        "passage": Given(200, "tokens", "in one of them", YOURS),
        "instruction": Given(300, "tokens", "of prompt besides", YOURS),
        "answer": Given(150, "tokens", "written", YOURS),
        "parameters": Given(8e9, "", "of the model that reads, in bf16", YOURS),
        "peak": Given(H100_FLOPS, "FLOP/s", "bf16, dense", H100),
        "bandwidth": Given(H100_BANDWIDTH, "bytes/s", "of memory", H100),
        "mfu": Given(0.5, "", "share of the peak in reading", YOURS),
        "mbu": Given(0.6, "", "share of the bandwidth in writing", YOURS),
        "batch": Given(16, "", "answers written at once", YOURS),
        "search_seconds": Given(0.03, "s", "to embed the question and search", YOURS),
        "rerank_seconds": Given(0.002, "s", "of GPU per passage that is ranked", YOURS),
        "embed_rate": Given(30_000, "tokens/s", "one GPU embeds", YOURS),
        "neighbours": Given(16, "", "of a vector in the graph", YOURS),
        "price": Given(2.5, "$", "per GPU-hour", YOURS),
    },
    choices={
        "dimensions": Choice("numbers per vector", options=(256, 512, 1024)),
        "bits": Choice("bits per number", options=(1, 8, 32)),
        "retrieved": Choice("passages that the search returns", 1, 200, whole=True),
        "reranked": Choice("1: a cross-encoder ranks them again", options=(0, 1)),
        "passed": Choice("passages in the prompt", 1, 200, whole=True),
        "reindex_gpus": Choice("GPUs that embed everything anew", 1, 256, whole=True),
    },
    calculate=calculate,
    limits=(
        Limit(
            "recall",
            "",
            "of questions the right passage is in the prompt: no answer is better than that",
            at_least=0.88,
        ),
        Limit("ttft", "s", "until the answer begins", at_most=0.5),
        Limit("dollars", "$", "per thousand questions, GPU time", at_most=0.2),
        Limit("index", "GB", "in the memory of one machine", at_most=32),
        Limit("reindex_hours", "h", "a new embedding model, overnight", at_most=12),
    ),
    steps=(
        Step(
            "How do you know that it works?",
            "Retrieval apart from generation: recall at k on questions with known passages; faithfulness to the "
            "passages; whether it says that the answer is not there.",
        ),
        Step(
            "How many passages does the model read?",
            "Recall against tokens: reading is paid per question. Where the passage stands matters, and "
            "distractors cost accuracy.",
        ),
        Step(
            "What is in the index?",
            "Bytes per vector from dimensions and bits, links of the graph; keywords (BM25) beside vectors for "
            "names and numbers.",
        ),
        Step(
            "Documents change, and not everybody may read each.",
            "Incremental updates, deletions that are really gone, access checked at search time and not by the "
            "model; versions of embedding and index together.",
        ),
        Step(
            "Somebody writes instructions into a document.",
            "Retrieved text is data: marked as such, no tools on its word, output checked; measure the attack's "
            "success.",
        ),
    ),
    answer={"dimensions": 1024, "bits": 8, "retrieved": 60, "reranked": 1, "passed": 10, "reindex_gpus": 4},
    why=(
        "A reranker over 60 lets the model read ten instead of forty; 8 bits per number cost half a percent of "
        "recall and three quarters of the memory."
    ),
    traps=(
        Trap({"bits": 32}, "index", "Four bytes for each of a thousand numbers."),
        Trap({"bits": 1}, "recall", "One bit loses a tenth, unless the vectors are compared again at full precision."),
        Trap({"reranked": 0}, "recall", "The first ten of the search hold it too seldom."),
        Trap({"reranked": 0, "passed": 40}, "dollars", "Enough recall, and eight thousand tokens to read each time."),
        Trap({"retrieved": 200}, "dollars", "Each passage that is ranked is paid."),
        Trap({"retrieved": 200, "passed": 50}, "ttft", "Ranking and reading take their time one after the other."),
        Trap({"reindex_gpus": 1}, "reindex_hours", "Four billion tokens take one GPU more than a day."),
    ),
)
