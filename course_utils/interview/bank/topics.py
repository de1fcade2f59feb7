"""What a reader wants to be able to explain: rows with the ids by which questions name them, and where they are taught.

P: the short guide in pictures, K: the question hub, F: fine-tuning, A: the long list, L: the life cycle, I: what
interviewers ask besides.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """A row. words: what else people call it. claims: figures besides those that its questions quote."""

    ids: tuple[str, ...]
    title: str
    chapters: tuple[str, ...]
    exercises: tuple[str, ...]
    claims: tuple[str, ...] = ()
    words: str = ""


def _row(ids: str, title: str, chapters: str, exercises: str, claims: str = "", words: str = "") -> Topic:
    return Topic(
        tuple(ids.split()), title, tuple(chapters.split()), tuple(exercises.split()), tuple(claims.split()), words
    )


TOPICS = (
    _row("K1 P0 L0", "The phases of making a model, and what stands around them", "00 21",
         "00.3",         words="life cycle pipeline pretraining instruction tuning alignment deployment maintenance"),
    _row("K2 A3", "Kinds of fine-tuning", "07 09", "07.2 07.3 07.4",
         words="full feature extraction peft adapter prefix"),
    _row("K3 P2", "What instruction tuning adds", "06", "06.5", words="usability sft assistant following before after"),
    _row("P1", "A pretrained model only continues text", "03 06", "03.1", words="base model completion"),
    _row("P3", "Helpful, honest, harmless: answers ranked, a model of the ranking, its score put to work", "11 12",
         "11.1 11.2 11.3 11.4", words="hhh preference comparison rater annotator reward model bradley-terry"),
    _row("P4", "Direct preference optimization", "13", "13.3 13.4 13.5", words="dpo newer alignment implicit reward"),
    _row("A1 F1 L1", "What fine-tuning is, and what it reuses", "07", "07.5", "07.transfer",
         words="transfer from scratch labels"),
    _row("A2", "The process of fine-tuning, from base model to hand-over", "07 19", "07.1 07.5",
         words="hyperparameter search validation overfitting early stopping deployment"),
    _row("A4 F2 F10 L2", "When to fine-tune, and when to prompt or to look things up", "05 08", "05.4 08.1",
         words="decision cost plateau domain vocabulary efficiency"),
    _row("A5", "Fine-tuning and transfer learning", "07", "07.2", words="frozen unfreezing layers"),
    _row("A6", "How instruction tuning works", "06", "06.1 06.2 06.3 06.4",
         words="chat template mask prompt collator loss on answers"),
    _row("A7 A20", "RLHF step by step, and how it is checked", "11 12", "11.4 12.2 12.4",
         words="human feedback pipeline iteration validation"),
    _row("A8", "Techniques of RLHF", "11 12 13", "12.3 12.4 13.3", words="reward modelling ppo hybrid imitation"),
    _row("A9", "Parameter-efficient fine-tuning", "07 09", "07.3 09.1 09.2",
         words="peft adapters prompt tuning prefix"),
    _row("A10 A13 F5", "LoRA and QLoRA: how, and why so popular", "09 10", "09.1 09.3 09.4 10.2 10.5",
         words="low rank nf4 four bits double quantization merge memory"),
    _row("A11 F3", "Pretraining against fine-tuning; next-word and masked objectives", "03", "03.1 03.5",
         words="causal mlm bert objective"),
    _row("A12", "Training models with billions of parameters", "04", "04.1 04.2 04.3 04.4",
         words="distributed ddp fsdp zero adamw clipping checkpoint resume monitoring gradient accumulation"),
    _row("A14", "Training against hallucination", "16", "16.3 16.4", words="invention data quality abstain unknown"),
    _row("A15", "Bias and harmful generation: found, curated, audited", "17", "17.1 17.2",
         words="audit refusal fairness safety"),
    _row("A16", "PPO in generation: the objective, and small steps", "12", "12.2 12.3 12.4 12.5",
         words="clip kl advantage gae policy gradient"),
    _row("A17", "Knowledge distillation", "18", "18.1 18.2", words="teacher student soft labels"),
    _row("A18", "Prompts with no, one and a few examples; retrieval", "05 16", "05.3 05.4",
         words="zero-shot one-shot few-shot rag retrieval-augmented bm25"),
    _row("A19", "Metrics: perplexity, BLEU, ROUGE, people, facts", "15", "15.1 15.2 15.3 15.4",
         words="evaluation overlap interval bootstrap factual consistency"),
    _row("A21", "Factual accuracy: retrieval, sets of checked facts, penalties", "16", "16.5",
         words="fever truthfulqa citation verification"),
    _row("A22", "Detecting drift", "20", "20.1 20.2 20.3", words="monitoring psi ks cusum feedback golden"),
    _row("A23 F6", "Curating data, and what its quality does", "01", "01.1 01.2 01.3",
         words="noise duplicates minhash outliers diversity annotators decontamination filter"),
    _row("A24", "Bias in data: audits, augmentation, reweighting, adversaries", "17", "17.3",
         words="counterfactual debiasing balance"),
    _row("A25", "Tuning to a domain", "08", "08.2 08.3 08.4 08.5",
         words="continued pretraining catastrophic forgetting replay gradual layers vocabulary"),
    _row("A26", "Architecture of the Llama kind: attention, positions, counting", "02 10", "02.1 02.2 02.3 02.4 02.5",
         words="transformer rope rmsnorm swiglu gqa encoder decoder sparse window quantized inference"),
    _row("F4", "Popular pretrained models, and what each is for", "02", "02.3", "02.bert_sees 02.llama_sees 02.t5_sees",
         words="bert t5 llama encoder decoder"),
    _row("F7 F9", "What goes wrong in fine-tuning, and how it is diagnosed", "07 08 17", "07.1 07.5 08.5",
         words="challenges failure overfitting leak little data amplified bias learning rate"),
    _row("F8", "Formats of training data", "06 21", "06.1 06.3",
         words="tables labels pairs text chat preferences jsonl"),
    _row("L3", "Prompt engineering", "05", "05.1 05.2 05.3",
         words="format order shots decoding temperature top-p beam"),
    _row("L4", "Evaluation and iteration: the next change from what was measured", "15 21", "15.4 15.6 04.6",
         words="leaderboard gate ablation"),
    _row("L5", "Deployment, monitoring, retraining, feedback", "19 20 21", "19.4 20.5 20.4",
         words="serving production canary rollback mlops"),
    _row("L6", "Inherited bias and responsible use", "17", "17.1 17.5", "17.card 17.text_leans 17.comes_back",
         words="model card audit ethics"),
    _row("+", "Tokenization, generation, scaling laws", "01 03 04 08", "01.4 01.5 04.5 05.1 03.2",
         "01.same_merges 03.scaling_exponent 04.rule", words="bpe tokenizer chinchilla bits per byte packing"),
    _row("I1", "Muon, WSD and branched decays, the critical batch", "03 04", "03.3 04.6",
         "04.orthogonal 04.same_muon 03.branch 03.wsd 04.batch_tokens", words="optimizer schedule speedrun adamw"),
    _row("I2", "Memory bills; ZeRO, FSDP, tensor, pipeline, expert and context parallel", "04", "04.1 04.2 04.4",
         "04.states 04.two_bills 04.fsdp 04.tensor", words="16 bytes sharding master copies"),
    _row("I3", "MLA, MoE, YaRN, QK-norm, z-loss, muP, FP8", "02 04", "02.2 02.3", "02.one_kv 03.rate_by_size",
         words="mixture of experts long context latent attention"),
    _row("I4", "Online softmax, the roofline, MFU and MBU", "02 19", "19.1", "19.decode_memory 19.prefill 04.mfu",
         words="compute bound memory bandwidth prefill decode flash attention"),
    _row("I5", "Packing with document masks, synthetic data, merging models", "01 03 08", "01.5",
         "01.packing_waste 03.leak 03.as_if_alone", words="collapse soup"),
    _row("I6", "DPO derived; the chosen answer that becomes less likely; its family", "13", "13.1 13.2 13.3 13.5",
         "13.optimum 13.cancels 13.chosen_own", words="ipo kto orpo simpo"),
    _row("I7", "GRPO, and what its successors repair", "14", "14.2 14.3 14.4", "14.ties 14.std_noise 14.length_drift",
         words="dr grpo dapo gspo cispo standard deviation length bias tied groups kl"),
    _row("I8", "Designing a reward that a program checks, and how it is hacked", "14", "14.1",
         "14.hacked 14.mended 14.ties",
         words="verifiable outcome process rlvr"),
    _row("I9", "Ability or sharpening; staleness; entropy; copies of the model", "14 12", "14.5 12.1",
         "14.pass_1 14.pass_many 14.int8_gap 14.memory", words="pass@k off-policy mismatch collapse"),
    _row("I10", "Compute at test time", "14 12", "14.5", "14.majority 14.pass_many 12.best_of_n",
         words="best of n self-consistency chain of thought voting reasoning thinking"),
    _row("I11", "Biased judges, Elo and Bradley-Terry, power and paired tests", "15", "15.6 15.7 11.2",
         "15.order_changes 15.elo_order 15.power", words="llm as a judge position length mcnemar arena"),
    _row("I12", "Calibration and abstention", "16", "16.1 16.2 16.4", "16.same_ece 16.too_sure 16.temperature 16.gate",
         words="ece brier confidence selective"),
    _row("I13", "Retrieval, tools and agents evaluated", "05 16", "16.5 05.4",
         "16.citation_holds 16.misled 05.retrieved",
         words="rag faithfulness trajectory agent"),
    _row("I14", "Jailbreaks, over-refusal, injection, memorisation, unlearning", "17", "17.4 17.5",
         "17.attack 17.over_refusal 17.order 17.memorised 17.unlearned", words="red team privacy canary secret"),
    _row("I15", "Distillation: the square of T, two directions of KL, on-policy", "18", "18.1 18.2 18.3",
         "18.with_square 18.forward_valley 18.own_words", words="gkd mode seeking"),
    _row("I16", "KV cache, paging, batching, latency, speculative decoding", "19", "19.2 19.3 19.4 19.5",
         "19.kv_formula 19.pages 19.continuous 19.exact_rule", words="vllm ttft tpot prefix chunked throughput"),
    _row("I17", "Quantization formats, outliers, structured output", "10 19", "10.1 10.2 10.3",
         "10.nf4_beats_int4 10.e2m1_beats_int4 19.valid", words="gptq awq nf4 mxfp4 nvfp4 grammar json mask"),
    _row("I18", "Drift: test, delay, false alarms; canary, rollback, late labels", "20 19", "20.3 20.4 20.5",
         "20.weekly_alarms 20.late_labels 19.rolled_back", words="peeking sequential e-values"),
)  # fmt: skip

IDS = tuple(id for topic in TOPICS for id in topic.ids)
