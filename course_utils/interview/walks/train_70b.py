"""Design walk: train a 70 B model within a month, with the money, memory and network that are there."""

from __future__ import annotations

from typing import Any

from course_utils.interview.walks.frame import (
    H100,
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
LLAMA3 = "419 unexpected interruptions in 54 days on 16,384 GPUs, arXiv 2407.21783, section 3.3.4"


def calculate(c: Any, g: Any) -> dict[str, float]:
    """Time and money by 8 N D (6 N D without computing again), memory by ZeRO-3 and what blocks keep, the network by
    three passes over the weights (ZeRO, arXiv 1910.02054, section 7), faults by what lies between two savings."""
    again = bool(c.checkpointing)
    step_seconds = (8 if again else 6) * g.parameters * c.tokens_per_gpu / (g.peak * g.reached)
    network_seconds = 3 * 2 * g.parameters / g.network  # bf16: gathered forward and backward, gradients scattered
    fault_seconds = 3600 * g.fault_gpu_hours / c.gpus  # between two faults of the whole
    interval = 60 * c.save_minutes
    lost = g.write_seconds / interval + (interval / 2 + g.restart_seconds) / fault_seconds
    steps = c.tokens / (c.tokens_per_gpu * c.gpus)
    days = steps * max(step_seconds, network_seconds) / 86_400 / max(1 - lost, 0.01)
    return {
        "days": days,
        "dollars": c.gpus * days * 24 * g.price,
        "memory": _memory(c, g, again) / 1e9,
        "tokens_per_parameter": c.tokens / g.parameters,
        "batch": c.tokens_per_gpu * c.gpus,
        "network_share": network_seconds / step_seconds,
        "goodput": 1 - lost,
        "utilization": 6 * g.parameters * c.tokens / (c.gpus * days * 86_400 * g.peak),
    }


def _memory(c: Any, g: Any, again: bool) -> float:
    """Bytes on one GPU: a share of 16 bytes a parameter, two gathered layers, and activations as chapter 04 counts."""
    h, f, kv = g.hidden, g.inner, g.hidden / 8  # 8 of 64 heads for keys and values
    block = c.tokens_per_gpu * (30 * h + 4 * kv + 8 * f + 4 * 64 + 8)
    blocks = g.layers * 4 * h * c.tokens_per_gpu + block if again else g.layers * block
    end = c.tokens_per_gpu * (10 * h + 4 + 4 * 32_000 + 16)
    return float(16 * g.parameters / c.gpus + 2 * 2 * g.parameters / g.layers + blocks + end)


WALK = Walk(
    name="train_70b",
    title="Train a 70 B model",
    minutes=20,
    roles=("pretraining", "generalist"),
    task=(
        "You get a cluster of H100s and a month. Train a dense model of 70 billion parameters from nothing, with fully "
        "sharded data parallelism, on rows of 4,096 tokens. Say how many GPUs, how many tokens, how they are cut up, "
        "what is computed twice, and how often you save."
    ),
    given={
        "parameters": Given(68.98e9, "", "parameters", LLAMA2),
        "layers": Given(80, "", "layers", LLAMA2),
        "hidden": Given(8192, "", "width of the stream", LLAMA2),
        "inner": Given(28_672, "", "width inside the feed-forward part", LLAMA2),
        "peak": Given(H100_FLOPS, "FLOP/s", "bf16, dense", H100),
        "reached": Given(0.5, "", "share of the peak that runs, computing again included", YOURS),
        "network": Given(50e9, "bytes/s", "per GPU, 400 Gb/s", "data sheet of the NVIDIA DGX H100"),
        "fault_gpu_hours": Given(54 * 24 * 16_384 / 419, "GPU-hours", "between faults that stop the run", LLAMA3),
        "write_seconds": Given(60, "s", "the run stands while it saves", YOURS),
        "restart_seconds": Given(1200, "s", "from a fault to the next step", YOURS),
        "price": Given(2.5, "$", "per GPU-hour", YOURS),
    },
    choices={
        "gpus": Choice("GPUs", 8, 16_384, whole=True),
        "tokens": Choice("tokens to train on", 1e10, 2e13),
        "tokens_per_gpu": Choice("tokens per GPU and step, in one pass", 512, 262_144, whole=True),
        "checkpointing": Choice("1: activations are computed again in the backward pass", options=(0, 1)),
        "save_minutes": Choice("minutes between two savings", 1, 1440),
    },
    calculate=calculate,
    limits=(
        Limit("days", "days", "the cluster is yours for a month", at_most=30),
        Limit("dollars", "$", "what was granted", at_most=1.25e6),
        Limit(
            "memory", "GB", "80 GB less a tenth for fragments and the network's buffers", at_most=0.9 * H100_BYTES / 1e9
        ),
        Limit("tokens_per_parameter", "", "about compute-optimal, arXiv 2203.15556", at_least=20),
        Limit("batch", "tokens", "beyond it the pilot gained nothing from a larger batch (yours)", at_most=8e6),
        Limit("network_share", "", "of the step; the rest is the margin that keeps it hidden", at_most=0.75),
        Limit("goodput", "", "share of the time that is neither saving nor lost", at_least=0.97),
    ),
    steps=(
        Step(
            "How much arithmetic is it, and how long does it take?",
            "6 N D operations; GPU-hours from the share of the peak that is reached; computing activations again "
            "makes it 8 N D of work for the same 6 N D of progress.",
        ),
        Step(
            "What lies in the memory of one GPU?",
            "16 bytes a parameter, sharded; activations per token and layer; why the second is the larger one "
            "here, and what checkpointing leaves.",
        ),
        Step(
            "What does the network carry?",
            "ZeRO-3 moves the weights about three times a step, whatever the batch: too few tokens per GPU, and "
            "the network is the limit. Then tensor parallelism inside a node, pipeline between nodes.",
        ),
        Step(
            "What sets the largest number of GPUs?",
            "The batch: tokens per GPU from below by the network, tokens per step from above by the critical batch.",
        ),
        Step(
            "A GPU breaks every few days. So?",
            "Mean time between faults of the whole; interval near the root of 2 * cost of saving * that time "
            "(Young 1974); asynchronous saving; spares; what is watched.",
        ),
    ),
    answer={"gpus": 640, "tokens": 1.4e12, "tokens_per_gpu": 12_288, "checkpointing": 1, "save_minutes": 95},
    why=(
        "640 GPUs carry 7.9 M tokens a step; at 12,288 tokens each the step is long enough to hide the network, "
        "and checkpointing lets them fit."
    ),
    traps=(
        Trap({"gpus": 2048}, "batch", "More GPUs at the same tokens each is a larger batch, which buys nothing."),
        Trap(
            {"gpus": 2048, "tokens_per_gpu": 3072},
            "network_share",
            "The weights travel once a step however few tokens a GPU has.",
        ),
        Trap({"checkpointing": 0}, "memory", "Eighty layers keep some hundred gigabytes for twelve thousand tokens."),
        Trap({"gpus": 320}, "days", "Half the GPUs take twice the time."),
        Trap(
            {"tokens": 3e11},
            "tokens_per_parameter",
            "A large model trained short is worse than a smaller one trained long.",
        ),
        Trap({"tokens": 3e12}, "dollars", "Twice the tokens are twice the money."),
        Trap({"save_minutes": 5}, "goodput", "Each saving costs a minute; faults are rarer than that."),
        Trap({"save_minutes": 600}, "goodput", "A fault throws five hours away on average."),
    ),
)
