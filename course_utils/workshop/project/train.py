"""Tune the model on the conversations, answers only. A run that was stopped goes on from its last checkpoint."""

from __future__ import annotations

import json
import shutil
from typing import Any

import common


def rows_of(said: dict[str, Any], tokenizer: Any) -> list[dict[str, list[int]]]:
    """The training conversations as tokens and labels; those that are too long are counted and left out."""
    encoded = [common.encode(messages, tokenizer) for messages in common.read(said["work"] / "train.jsonl")]
    kept = [{"input_ids": ids, "labels": labels} for ids, labels in encoded if len(ids) <= said["train"]["max_length"]]
    if len(kept) < len(encoded):
        print(f"{len(encoded) - len(kept)} conversations are longer than max_length and are left out")
    if not kept:
        raise SystemExit("no conversation is short enough; give a larger max_length in config.toml.")
    return kept


def main() -> None:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from transformers.trainer_utils import get_last_checkpoint
    from trl import SFTConfig, SFTTrainer

    said = common.settings()
    work, how = said["work"], said["train"]
    this_run = common.digest(how, said["model"], said["seed"], work / "train.jsonl")
    finished = work / "model" / "run.json"
    if finished.is_file() and json.loads(finished.read_text(encoding="utf-8"))["run"] == this_run:
        print("train: this run is finished already (work/model)")
        return
    model, tokenizer = common.load(said)
    rows = rows_of(said, tokenizer)
    checkpoints = work / f"checkpoints-{this_run}"  # of these settings and this data: another run begins anew
    common.seed_all(said["seed"])
    settings = SFTConfig(
        output_dir=str(checkpoints),
        max_steps=how["steps"],
        per_device_train_batch_size=how["batch_size"],
        learning_rate=how["learning_rate"],
        lr_scheduler_type="linear",
        warmup_steps=max(1, how["steps"] // 10),
        max_length=how["max_length"],
        save_steps=how["save_every"],
        save_total_limit=2,
        logging_steps=max(1, how["steps"] // 10),
        gradient_checkpointing=False,
        use_cpu=common.device() == "cpu",
        bf16=common.device() == "cuda",
        report_to=[],
        disable_tqdm=True,
        seed=said["seed"],
    )
    adapter = LoraConfig(r=how["lora_r"], lora_alpha=2 * how["lora_r"], target_modules="all-linear")
    trainer = SFTTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=adapter if how["lora_r"] else None,
    )
    trainer.remove_callback(PrinterCallback)
    begun = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    print(f"train: {len(rows)} conversations, {how['steps']} steps" + (f", going on from {begun}" if begun else ""))
    trainer.train(resume_from_checkpoint=begun)
    curve = [(entry["step"], round(entry["loss"], 4)) for entry in trainer.state.log_history if "loss" in entry]
    print("loss:", "  ".join(f"{step}: {loss:.3f}" for step, loss in curve))
    aside = work / "model.part"
    shutil.rmtree(aside, ignore_errors=True)
    trainer.save_model(str(aside))  # safetensors, with the tokenizer
    common.write(aside / "run.json", json.dumps({"run": this_run, "loss": curve}) + "\n")
    shutil.rmtree(work / "model", ignore_errors=True)
    aside.replace(work / "model")
    shutil.rmtree(checkpoints)


if __name__ == "__main__":
    main()
