"""Before and after on the held-out conversations, with intervals, and the card that says what was made of what."""

from __future__ import annotations

import json
import random
from typing import Any

import common


def measure(model: Any, tokenizer: Any, conversations: list[Any], new_tokens: int) -> list[dict[str, Any]]:
    """For each conversation: nats per answer token, and the answer that the model gives to the last question."""
    import torch

    model.eval()
    stops, found = common.stop_ids(model, tokenizer), []
    for messages in conversations:
        ids, labels = common.encode(messages, tokenizer)
        with torch.no_grad():
            row = {"input_ids": torch.tensor([ids]), "labels": torch.tensor([labels])}
            loss = model(**{name: value.to(model.device) for name, value in row.items()}).loss.item()
        prompt = common.render(messages[:-1], tokenizer, add_generation_prompt=True)
        asked = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").to(model.device)
        said = model.generate(
            input_ids=asked["input_ids"],
            attention_mask=asked["attention_mask"],
            max_new_tokens=new_tokens,
            do_sample=False,
            eos_token_id=stops,
            pad_token_id=tokenizer.pad_token_id,
        )
        text = tokenizer.decode(said[0, asked["input_ids"].shape[1] :], skip_special_tokens=True).strip()
        found.append({"loss": loss, "answer": text, "exact": text == messages[-1]["content"].strip()})
    return found


def interval(values: list[float], seed: int) -> tuple[float, float, float]:
    """Mean and a 95 % bootstrap interval over conversations."""
    drawn = random.Random(seed)
    means = sorted(sum(drawn.choices(values, k=len(values))) / len(values) for _ in range(1000))
    return sum(values) / len(values), means[25], means[974]


def main() -> None:
    from importlib.metadata import version

    from peft import PeftModel

    said = common.settings()
    work, how = said["work"], said["evaluate"]
    if not (work / "model" / "run.json").is_file():
        raise SystemExit("there is no trained model in work/model; run train.py first.")
    held_out = common.read(work / "test.jsonl")[: how["conversations"]]
    before, tokenizer = common.load(said)
    base = measure(before, tokenizer, held_out, how["new_tokens"])
    if said["train"]["lora_r"]:
        tuned = PeftModel.from_pretrained(before, str(work / "model"))
    else:
        tuned, tokenizer = common.load(said, work / "model")
    after = measure(tuned, tokenizer, held_out, how["new_tokens"])

    lines = []
    for name, rows in (("before", base), ("after", after)):
        for what, words in (("loss", "nats per answer token"), ("exact", "answers exactly as held out")):
            mean, low, high = interval([float(row[what]) for row in rows], said["seed"])
            lines.append(f"| {name} | {words} | {mean:.3f} | {low:.3f} to {high:.3f} |")
    gains = [a["loss"] - b["loss"] for a, b in zip(base, after, strict=True)]
    mean, low, high = interval(gains, said["seed"])
    lines.append(f"| gain | nats per answer token, the same conversations | {mean:.3f} | {low:.3f} to {high:.3f} |")
    common.write(work / "answers.json", json.dumps({"before": base, "after": after}, indent=1, ensure_ascii=False))

    run = json.loads((work / "model" / "run.json").read_text(encoding="utf-8"))
    kind = f"LoRA, rank {said['train']['lora_r']}" if said["train"]["lora_r"] else "all weights"
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft", "trl", "datasets"))
    table = "\n".join(lines)
    common.write(
        common.HERE / "MODEL_CARD.md",
        f"# Model card\n\n- base: `{said['model']}`\n"
        f"- data: `{said['data'].name}`, digest {common.digest(said['data'])}\n"
        f"- training: {kind}, {said['train']['steps']} steps of {said['train']['batch_size']} conversations, learning "
        f"rate {said['train']['learning_rate']}, seed {said['seed']}, answers only\n- run: {run['run']}\n"
        f"- made with {libraries}\n\n## Measured on {len(held_out)} held-out conversations\n\n"
        f"| | what | mean | 95 % interval |\n|---|---|---|---|\n{table}\n\nThe intervals are over conversations, of "
        "one training run: another seed gives another model.\n\n## Not measured\n\nWhat this model does with questions "
        "of another kind than those in the data, what it invents, and whom it treats unlike others. Measure that "
        "before anybody relies on it.\n",
    )
    print(table)
    print("card: MODEL_CARD.md")


if __name__ == "__main__":
    main()
