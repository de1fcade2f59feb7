"""Interview questions and quiz of chapter 04."""

from course_utils.interview.bank import Question, QuizItem

QUESTIONS = [
    Question(
        question="How much memory does training a 7 B model take?",
        short=(
            "16 bytes a parameter for weights, gradients and AdamW, about 108 GB, plus activations, which grow with the tokens in the batch. On my 1 M model "
            "the formula met the measurement: ratio {04.states:.3f} for the states, {04.activations:.3f} for activations."
        ),
        deep=(
            "Mixed precision: 2 (weight) + 2 (gradient) + 12 (float32 copy and two moments); float32: 4 + 4 + 8. A block of a Llama keeps 4 T (8H + 2K + 4F + A + 2) bytes in float32 with fused "
            "attention, and the logits 4 T V on top. Levers, in the order to pull them: smaller micro-batches with accumulation, checkpointing, sharding (ZeRO-3 on 8 ranks: under 14 GB a rank), "
            "8-bit or factored optimizers, offload. On GPUs add the allocator's fragments and communication buffers. Sources: arXiv 1910.02054, 2205.05198."
        ),
        topics=("A12", "+"),
        followups=("And inference? 2 bytes a parameter, plus the key-value cache.",),
    ),
    Question(
        question="DDP, FSDP, ZeRO: what is the difference?",
        short=(
            "DDP copies everything and averages gradients. FSDP shards weights, gradients and optimizer state, as ZeRO-3 does, and gathers a block when it is needed. With two processes mine held "
            "{04.sharded:.2f} of the bytes, and its loss differed from one process by at most {04.fsdp:.1e}."
        ),
        deep=(
            "ZeRO-1 shards optimizer state, 2 gradients, 3 weights. DDP's all-reduce moves about twice the model per step; stages 1 and 2 the same; stage 3 half as much again, because weights are gathered for the forward and the "
            "backward pass (ZeRO, section 7). `reshard_after_forward=False` skips the second gathering at the price of memory. Losses agree because the gradient is one mean over all tokens; "
            "bits differ because sums are taken in another order. Clipping needs the norm over all shards: one number is all-reduced."
        ),
        topics=("A12",),
        followups=("When does DDP win? When the model fits: less communication, simpler.",),
    ),
    Question(
        question="Does gradient accumulation equal the large batch?",
        short=(
            "Only if every token weighs the same: sum the losses, divide by all tokens. Mine met the large batch's gradient to {04.accumulation:.0e}; averaging the means of unequal pieces missed it by {04.mean_of_means:.0%}."
        ),
        deep=(
            "With equal counts the two agree, so the bug hides in pretraining and shows in instruction tuning, where answers differ in length. The same holds over ranks: DDP averages over ranks, so each must scale by world / total tokens. "
            "Batch normalization and dropout break equality in other ways. Clip after the last piece, not after each. Under DDP use `no_sync()` for all but the last backward pass, or every piece is communicated."
        ),
        topics=("A12",),
        followups=("What does it cost? Time only: memory is that of one piece.",),
    ),
    Question(
        question="What does activation checkpointing trade?",
        short="Memory for arithmetic: I kept {04.checkpoint_bytes:.0%} of the bytes of the forward pass for one more forward pass, about a third more work, with equal gradients.",
        deep=(
            "Each block keeps its input alone and is computed again in the backward pass (arXiv 1604.06174). With $L$ layers, $b$ bytes of input and $i$ bytes inside, segments of $\\sqrt{L b / i}$ layers are best; the well-known $\\sqrt{L}$ is the case $b = i$. A block keeps many times its input, so one or two blocks are "
            "best. Selective recomputation (arXiv 2205.05198) repeats only what is cheap and large. MFU does not count repeated work; hardware utilization does. Dropout must repeat its draws, which PyTorch does by saving the random state."
        ),
        topics=("A12",),
        followups=("What does it not shrink? The logits; compute the loss in chunks.",),
    ),
    Question(
        question="Why keep float32 weights in mixed precision, and when do you need a loss scale?",
        short=(
            "A bf16 number has 8 bits of precision: of updates as small as 1e-5, {04.lost_updates:.0%} left my weights unchanged, and a run with bf16 weights and moments learned {04.pure_bf16:.0%} of what float32 learned. float16 has a narrow range: a mean over 4 M tokens would be off by {04.underflow_large:.0%} without a loss scale."
        ),
        deep=(
            "Micikevicius et al. (arXiv 1710.03740): float32 copy, loss scaling, sums in float32. In float16 {04.underflow:.0%} of the numbers in the logits' gradient became 0; in my small batch that was harmless (an error of {04.underflow_small:.2%}), because the large ones carry the norm. bf16 has float32's exponents, so no scale. Dynamic scaling doubles the factor until something overflows, then halves it and skips the step. "
            "Softmax, norms and the loss stay in float32. Autocast learned {04.autocast:.0%} of what float32 did in my run. Stochastic rounding is the other cure for lost updates."
        ),
        topics=("A12",),
        followups=("And fp8? Scales per tensor or block, for the matrix products only.",),
    ),
    Question(
        question="A node dies in week two of your run. What happens?",
        short="The job is restarted by the scheduler, loads the newest whole checkpoint and repeats the steps since. I killed mine by SIGKILL; its weights ended within {04.resumed:.0e} of a run that was never stopped. With AdamW's averages forgotten the first loss was right and later ones were off by up to {04.forgot_averages:.2f}.",
        deep=(
            "A checkpoint holds weights, both moments, step, schedule, random states and the place in the data; leave one out and the run goes on without a message, but as another run. Test it: repeat some steps that the log already holds. A wrong first loss means weights or data, a wrong second one the optimizer. Write to a temporary name, flush, rename; keep two; save each rank's shards in parallel and in "
            "the background. Young's interval: sqrt(2 x save time x mean time between failures). Watch loss, gradient norm, rate, tokens per second; on a spike, go back some hundred steps and skip the batches, as PaLM did (arXiv 2204.02311, section 5.1)."
        ),
        topics=("A12",),
        followups=("How do you find a slow rank? Time each rank's step; the slowest sets the pace.",),
    ),
    Question(
        question="You have 1e24 FLOPs. How large a model, on how many tokens?",
        short="With C = 6ND and twenty tokens a parameter: N = sqrt(C / 120), 91 B parameters and 1.8 T tokens. At Chinchilla's budget the fitted law's best size is {04.rule:.2f} times that of the rule. I fitted the law to twelve small runs of my own: there the best was {04.our_ratio:.1f} times twenty, and the valley so flat that the rule cost {04.rule_costs:.1%} more.",
        deep=(
            "Hoffmann et al. (arXiv 2203.15556) found that N and D should grow alike; their published constants of the third approach were off and were fitted again (arXiv 2404.10102). The optimum is flat: a factor of two in N costs little loss, and so its place is known badly; ask for the interval. Kaplan et al. (arXiv 2001.08361) found other proportions, partly because their runs did not have a learning-rate decay matched to each length. If the model will serve many requests, train a smaller one longer. "
            "Then the bill: C / (GPUs x peak x MFU); mine reached an MFU of {04.mfu:.0%}."
        ),
        topics=("A12", "+"),
        followups=("What if you do not have the tokens? Repeat up to about four times (arXiv 2305.16264).",),
    ),
]

QUIZ = [
    QuizItem(
        question="Which part of the bill does ZeRO stage 1 share out?",
        choices=("Weights", "Gradients", "Optimizer state", "Activations"),
        answer=2,
        why="It is 12 of the 16 bytes.",
    ),
    QuizItem(
        question="What does mixed precision with AdamW save, beside time?",
        choices=("Bytes of activations", "Half of the optimizer state", "Half of everything", "Nothing"),
        answer=0,
        why="2 + 2 + 12 is 16, as 4 + 4 + 8 is.",
    ),
    QuizItem(
        question="Under FSDP every rank clips by the norm of its own shard. What happens?",
        choices=(
            "The same as without FSDP",
            "The gradient's direction changes",
            "An error is raised",
            "Nothing is clipped",
        ),
        answer=1,
        why="Shards are scaled by different factors.",
    ),
    QuizItem(
        question="4 pipeline ranks, 12 micro-batches. Which share of the time is idle?",
        choices=("1/4", "3/15", "1/12", "4/15"),
        answer=1,
        why="(p - 1) / (m + p - 1).",
    ),
    QuizItem(
        question="You double the compute budget and follow the rule of twenty. By how much does the model grow?",
        choices=("2 times", "4 times", "1.2 times", "1.41 times"),
        answer=3,
        why="C = 120 N squared.",
    ),
]
