"""Design walk: serve a 70 B model so that first and following tokens come in time, for as little money as possible."""

from __future__ import annotations

import math
from typing import Any

from course_utils.interview.walks.frame import (
    H100,
    H100_BANDWIDTH,
    H100_BYTES,
    H100_FLOPS,
    YOURS,
    Choice,
    Given,
    Limit,
    Step,
    Trap,
    Walk,
)

LLAMA2 = "sizes of Llama 2 70B, arXiv 2307.09288"


def decode_seconds(
    batch: float, weight_bytes: float, cache_bytes: float, flop_per_token: float, peak: float, bandwidth: float
) -> float:
    """The least seconds of a pass that writes one token for each of ``batch`` texts.

    Weights are fetched once for all, the cache (bytes of one text) once for each; arithmetic and memory work at the
    same time (Williams, Waterman and Patterson 2009).
    """
    return max((weight_bytes + batch * cache_bytes) / bandwidth, batch * flop_per_token / peak)


def calculate(c: Any, g: Any) -> dict[str, float]:
    """Prefill is bound by arithmetic, decoding by memory; both share a replica's time. The queue is that of M/D/1."""
    weights = g.parameters * c.weight_bits / 8
    per_token = 2 * g.layers * g.kv_heads * g.head_dim * c.cache_bits / 8
    reduces = 2 * g.layers * g.allreduce_seconds if c.gpus_per_replica > 1 else 0.0
    peak, bandwidth = (c.gpus_per_replica * x for x in (g.peak * g.mfu, g.bandwidth * g.mbu))
    prefill = 2 * g.parameters * g.prompt / peak + reduces
    share = g.rate / c.replicas * prefill  # of a replica's time
    step = reduces + decode_seconds(
        c.batch, weights, per_token * (g.prompt + g.answer / 2), 2 * g.parameters, peak, bandwidth
    )
    busy = share >= 1
    per_output = math.inf if busy else step / (1 - share)
    return {
        "ttft": math.inf if busy else prefill * (1 + share / (2 * (1 - share))) + step,
        "tpot": 1e3 * per_output,
        "load": math.inf if busy else g.rate * g.answer * per_output / (c.replicas * c.batch),
        "prefill_share": share,
        "memory": (weights + c.batch * per_token * (g.prompt + g.answer)) / c.gpus_per_replica / 1e9,
        "dollars": c.replicas * c.gpus_per_replica * g.price / 3600 / (g.rate * g.answer) * 1e6,
        "tokens_per_second": 0.0 if busy else c.replicas * c.batch / per_output,
    }


WALK = Walk(
    name="serve",
    title="Serve at a latency target",
    minutes=20,
    roles=("inference", "generalist"),
    task=(
        "A chat product calls a dense 70 B model. At the evening's peak 20 requests a second come, each with 1,500 "
        "tokens of prompt and 300 of answer on average. Readers want the first words at once and then a steady "
        "flow. Choose parallelism, precision, batch and the number of replicas."
    ),
    given={
        "parameters": Given(68.98e9, "", "parameters", LLAMA2),
        "layers": Given(80, "", "layers", LLAMA2),
        "kv_heads": Given(8, "", "heads of keys and values", LLAMA2),
        "head_dim": Given(128, "", "numbers per head", LLAMA2),
        "peak": Given(H100_FLOPS, "FLOP/s", "per GPU, bf16, dense", H100),
        "bandwidth": Given(H100_BANDWIDTH, "bytes/s", "per GPU", H100),
        "mfu": Given(0.5, "", "share of the peak in prefill; 19.2 measures yours", YOURS),
        "mbu": Given(0.6, "", "share of the bandwidth in decoding; 19.2 measures yours", YOURS),
        "allreduce_seconds": Given(10e-6, "s", "one all-reduce between the GPUs of a replica, two a layer", YOURS),
        "rate": Given(20, "1/s", "requests at the peak", YOURS),
        "prompt": Given(1500, "tokens", "mean", YOURS),
        "answer": Given(300, "tokens", "mean", YOURS),
        "price": Given(2.5, "$", "per GPU-hour", YOURS),
    },
    choices={
        "gpus_per_replica": Choice("GPUs that share one copy of the weights", options=(1, 2, 4, 8)),
        "replicas": Choice("copies", 1, 256, whole=True),
        "weight_bits": Choice("bits per weight", options=(4, 8, 16)),
        "cache_bits": Choice("bits per number of the cache", options=(8, 16)),
        "batch": Choice("texts that are written at once on a replica", 1, 1024, whole=True),
    },
    calculate=calculate,
    limits=(
        Limit("ttft", "s", "time to first token, mean: before it one doubts that anything happens", at_most=0.5),
        Limit("tpot", "ms", "time per output token: quicker than one reads", at_most=40),
        Limit("load", "", "of what decoding can carry; near 1 every crowd becomes a queue (19.10)", at_most=0.7),
        Limit("prefill_share", "", "of a replica's time; the rest is for writing", at_most=0.7),
        Limit("memory", "GB", "per GPU: 80 GB less a tenth", at_most=0.9 * H100_BYTES / 1e9),
        Limit("dollars", "$", "per million tokens written at the peak", at_most=2.0),
    ),
    steps=(
        Step(
            "Which of the two phases is bound by what?",
            "Prefill by arithmetic: 2 N operations a token. Decoding by memory: weights and cache are fetched for "
            "each pass, and a pass writes one token per text.",
        ),
        Step(
            "How many texts fit, and how many do you want?",
            "Bytes of keys and values per token from layers, kv heads, head width and precision; the batch from "
            "the latency target, not from the memory alone.",
        ),
        Step(
            "What does tensor parallelism buy, and what does it cost?",
            "Each GPU fetches a part of the weights: a shorter step. Two all-reduces a layer, and fewer replicas. "
            "Not across nodes.",
        ),
        Step(
            "What would you quantize, and how would you know that it is harmless?",
            "8-bit weights halve the fetch; cache in 8 bits doubles what fits. Paired evaluation on own traffic, "
            "long answers and rare languages apart.",
        ),
        Step(
            "The evening's rate doubles within a minute. What do users see?",
            "Queueing time in TTFT first; admission control, 503 early, chunked prefill so that writers do not "
            "stand still, autoscaling on the queue and not on utilization.",
        ),
    ),
    answer={"gpus_per_replica": 4, "replicas": 4, "weight_bits": 8, "cache_bits": 8, "batch": 64},
    why=(
        "Sixteen GPUs in fours: prefill takes half of the time, so that the step must be short; 8-bit weights "
        "make it so, and 64 texts carry the load with room."
    ),
    traps=(
        Trap(
            {"gpus_per_replica": 1, "replicas": 16, "weight_bits": 16},
            "memory",
            "138 GB of weights do not fit on one GPU.",
        ),
        Trap(
            {"weight_bits": 16, "cache_bits": 16},
            "tpot",
            "Twice the bytes, twice the step, and prefill takes half of the time besides.",
        ),
        Trap({"batch": 8}, "load", "Small batches are quick and carry nothing: the weights are fetched for eight."),
        Trap({"batch": 512}, "tpot", "The cache of five hundred texts weighs as much as the weights."),
        Trap({"replicas": 8}, "dollars", "Twice the machines for an evening's peak that half of them carry."),
        Trap({"replicas": 2}, "prefill_share", "Reading prompts alone takes all the time there is."),
        Trap({"replicas": 2}, "ttft", "And the queue grows as long as the evening lasts."),
    ),
)
