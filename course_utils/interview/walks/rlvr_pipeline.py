"""Design walk: a pipeline for reinforcement learning from verifiable rewards, in which nobody waits for anybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from course_utils.interview.walks.frame import H100, H100_FLOPS, YOURS, Choice, Given, Limit, Step, Trap, Walk

PILOT = ((0.0, 0.30), (0.1, 0.20), (0.5, 0.20), (0.9, 0.15), (1.0, 0.15))  # pass rate, share of prompts: yours


def telling_share(pass_rates: Sequence[tuple[float, float]], group: float) -> float:
    """The share of groups whose rewards are not all equal, and so have an advantage: sum of s (1 - p^G - (1 - p)^G).

    pass_rates: (pass rate p, share s of prompts). A group of equal rewards teaches nothing (GRPO, arXiv 2402.03300).
    """
    total = sum(share for _, share in pass_rates)
    return sum(share * (1 - p**group - (1 - p) ** group) for p, share in pass_rates) / total


def calculate(c: Any, g: Any) -> dict[str, float]:
    """Generators, trainers and verifiers work at the same time, the trainers one step behind: the slowest sets the
    pace."""
    pilot = [(p, share) for p, share in PILOT if not c.filtered or 0 < p < 1]
    answers = c.prompts * c.group
    tokens = answers * g.answer
    writing = tokens / (c.generators * g.generation_rate)
    training = 8 * g.parameters * tokens / (c.trainers * g.peak * g.mfu)  # 6 to train, 2 for log-probabilities
    checking = answers * g.verify_seconds / c.verifiers
    step = max(writing, training, checking)
    before = g.pool * 8 * g.answer / (c.generators * g.generation_rate) if c.filtered else 0.0
    seconds = g.steps * step + before
    gpus = c.generators + c.trainers
    return {
        "telling": c.prompts * telling_share(pilot, c.group),
        "hours": seconds / 3600,
        "dollars": gpus * seconds / 3600 * g.price,
        "idle": (c.generators * (step - writing) + c.trainers * (step - training)) / (gpus * step),
        "verifier_share": checking / max(writing, training),
        "step_seconds": step,
    }


WALK = Walk(
    name="rlvr_pipeline",
    title="A pipeline for verifiable rewards",
    minutes=20,
    roles=("post-training", "generalist"),
    task=(
        "An instruct model of 8 B is to learn to program, with tests as the reward and groups of answers as the "
        "baseline. 300 steps are planned, from a pool of 20,000 problems of which three in ten are never solved and "
        "some always. Share out GPUs between writing and training, CPU cores for the tests, and say how you choose "
        "problems."
    ),
    given={
        "parameters": Given(8e9, "", "parameters of the policy", YOURS),
        "answer": Given(2000, "tokens", "mean length of an answer", YOURS),
        "generation_rate": Given(2500, "tokens/s", "one GPU writes, with many answers at once", YOURS),
        "peak": Given(H100_FLOPS, "FLOP/s", "per GPU, bf16, dense", H100),
        "mfu": Given(0.35, "", "share of the peak in training", YOURS),
        "verify_seconds": Given(2, "s", "one core runs the tests of one answer", YOURS),
        "pool": Given(20_000, "", "problems", YOURS),
        "steps": Given(300, "", "steps", YOURS),
        "price": Given(2.5, "$", "per GPU-hour", YOURS),
    },
    choices={
        "group": Choice("answers per problem", 2, 128, whole=True),
        "prompts": Choice("problems per step", 1, 8192, whole=True),
        "generators": Choice("GPUs that write", 1, 1024, whole=True),
        "trainers": Choice("GPUs that train", 1, 1024, whole=True),
        "verifiers": Choice("cores that run tests", 1, 65_536, whole=True),
        "filtered": Choice(
            "1: each problem is tried eight times before, and dropped if never or always solved", options=(0, 1)
        ),
    },
    calculate=calculate,
    limits=(
        Limit(
            "telling", "", "problems per step whose answers differ in reward: the others have no gradient", at_least=150
        ),
        Limit("hours", "h", "one night", at_most=6),
        Limit("dollars", "$", "for one experiment", at_most=700),
        Limit("idle", "", "share of GPU time that waits", at_most=0.15),
        Limit("verifier_share", "", "of the GPUs' step: tests must never set the pace", at_most=0.8),
    ),
    steps=(
        Step(
            "Where does the signal come from?",
            "From groups with unequal rewards: 1 - p^G - (1 - p)^G. Too hard and too easy problems cost tokens "
            "and teach nothing; sort by pass rate, refresh it as the policy moves.",
        ),
        Step(
            "What sets the pace?",
            "Writing, training and checking, counted in tokens and seconds; long answers make the tail: cut, or "
            "go on while they end (one step of staleness).",
        ),
        Step(
            "The trainer is a step ahead of the writers. Is that a problem?",
            "Off-policy by one step: the ratio and its clip; log-probabilities recomputed by the trainer, because "
            "the engine's differ; the gap is logged.",
        ),
        Step(
            "How will the reward be hacked?",
            "Tests that are weak, printed, or edited; sandbox without network, held-out tests, a look at the "
            "answers whose reward jumps; false accepts counted on known wrong answers.",
        ),
        Step(
            "How do you know that it helped?",
            "pass@1 and pass@k on held-out problems with intervals over problems; general ability beside it; "
            "several seeds.",
        ),
    ),
    answer={"group": 8, "prompts": 256, "generators": 32, "trainers": 16, "verifiers": 160, "filtered": 1},
    why=(
        "Two GPUs write for one that trains, so both take about 50 s a step. Trying the pool once costs an hour "
        "and nearly doubles the telling groups."
    ),
    traps=(
        Trap({"filtered": 0}, "telling", "Six of ten groups are all right or all wrong."),
        Trap({"group": 2}, "telling", "Two answers are mostly alike."),
        Trap({"group": 32, "prompts": 64}, "telling", "As many tokens on a quarter of the problems."),
        Trap({"filtered": 0, "prompts": 448}, "hours", "Enough telling groups, and as much again for nothing."),
        Trap({"generators": 16}, "idle", "The trainers wait for the writers."),
        Trap({"generators": 96, "trainers": 48}, "verifier_share", "Three times the GPUs, and the tests set the pace."),
        Trap({"group": 16}, "dollars", "Twice the tokens."),
    ),
)
