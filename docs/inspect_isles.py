"""Questions of the Isles as a task for Inspect (inspect_ai), asked over the network protocol of OpenAI's servers.

This file imports nothing of the course, because Inspect lives in an environment of its own: it and ``datasets`` ask for
different releases of fsspec. Any server that speaks /v1/chat/completions will do, the course's (chapter 19) among them:

    python -m venv inspect && inspect/bin/pip install inspect-ai openai
    export ISLES_BASE_URL=http://127.0.0.1:8000/v1  ISLES_API_KEY=the-servers-token
    inspect/bin/inspect eval docs/inspect_isles.py --model openai-api/isles/instruct \\
        -T questions=questions.jsonl

``questions`` is a file as ``write_choice_file`` writes it. The model is asked the bare question and writes freely; an
answer counts if it holds the right choice and none of the wrong ones. Questions about one person are one cluster of the
standard error.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Target, accuracy, scorer, stderr
from inspect_ai.solver import TaskState, generate


@scorer(metrics=[accuracy(), stderr(cluster="person")])
def names_the_right_one():
    """Right if the answer holds the target as a whole word, and no other choice of the question."""

    async def score(state: TaskState, target: Target) -> Score:
        said = state.output.completion
        named = [choice for choice in state.metadata["choices"] if re.search(rf"\b{re.escape(choice)}\b", said)]
        return Score(value=CORRECT if named == [target.text] else INCORRECT, answer=", ".join(named), explanation=said)

    return score


@task
def isles_facts(questions: str = "questions.jsonl") -> Task:
    """Facts about people of the Isles, from a file with ``id``, ``question``, ``choices`` and ``answer`` a line."""
    rows = [json.loads(line) for line in Path(questions).read_text(encoding="utf-8").splitlines() if line.strip()]
    samples = [
        Sample(
            id=row["id"],
            input=row["question"],
            target=row["choices"][row["answer"]],
            metadata={"choices": row["choices"], "person": row["id"].split(",")[0]},
        )
        for row in rows
    ]
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=names_the_right_one())
