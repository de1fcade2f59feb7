"""Interview questions and quiz of chapter 09."""

from course_utils.interview.bank import Question, QuizItem

QUESTIONS = [
    Question(
        question="What is LoRA, and what does it save?",
        short=(
            "The weights are frozen, and beside each matrix a product of two thin ones is trained: y = W x + (alpha / r) B A x. "
            "I trained {09.trainable_share:.1%} of the parameters and lost nothing: on people who were not in the data the "
            "exact match of full tuning minus that of LoRA was {09.gap_to_full:.2f}. It saves memory, because frozen "
            "weights need no gradient and no optimizer state: mine took {09.memory:.0%} of full tuning's, activations apart."
        ),
        deep=(
            "Per trained parameter in 32 bits: 4 bytes of weight, 4 of gradient, 8 of Adam's averages. Frozen: the weight "
            "alone. An adapter has r (out + in) numbers where the matrix has out x in, so the share falls with size: eight per "
            "cent of my small model, three in a thousand of 7 billion with the same rank. Compute falls by a third at the most: the forward "
            "pass is whole, and the backward pass must still go through the frozen layers to reach the lower adapters; only "
            "the gradients of the frozen weights are left out. Activations stay as they are. The other gain is in serving: "
            "one base and many small files (Hu et al., arXiv 2106.09685)."
        ),
        topics=("A10", "A13", "F5"),
        followups=(
            "Which matrices would you adapt? All linear ones: adapters on attention alone learn less at the same size.",
            "Why is training not three times as fast? Forward and the way back through the frozen layers remain.",
        ),
    ),
    Question(
        question="Why does B start at zero, and A at random?",
        short=(
            "So that B A is zero and the model starts as it was, and yet learns: the gradient of B is built from A x. With both "
            "zero neither ever gets a gradient; my run then ended {09.zero_never_learns:.2f} nats higher. With both random the "
            "first loss was {09.random_start:.2f} nats higher: the model was disturbed before it learned."
        ),
        deep=(
            "dL/dB = (alpha / r) g (A x)^T and dL/dA = (alpha / r) B^T g x^T, with g the gradient at the output. At the start the "
            "first is not zero, the second is. After one step B is not zero and A moves too. The mirror image, A zero and B "
            "random, also starts at the old model, but is known to bear a smaller learning rate and to end a little worse on "
            "average (Hayou et al., arXiv 2406.08447)."
        ),
        topics=("A10", "A13", "F5"),
        followups=(
            "What is PiSSA? A and B start from the largest singular vectors of W, and the rest of W is frozen.",
        ),
    ),
    Question(
        question="What do r and alpha do, and how do you choose them and the learning rate?",
        short=(
            "r is the room: how many directions the update may have. alpha / r is a scale on it, and acts much like a "
            "learning rate, so fix one of the two and search the rate: either alpha, so that the scale falls as 1 / r, or alpha / r, as I did. It is higher than for full tuning. At a tenth of my rate the "
            "adapter ended {09.low_rate:.2f} lower on known people, with no sign of anything broken."
        ),
        deep=(
            "Choosing a manner takes little room; storing new facts takes much. Raise r until the held-out figure stops rising, on "
            "your data. With alpha fixed, the division by r is meant to leave the best rate about where it was when r changes; "
            'for high ranks alpha / sqrt(r) does that better (rsLoRA, arXiv 2312.03732). "LoRA Without Regret" '
            "(Schulman and Thinking Machines, 2025) measured an optimal rate of about ten times that of full tuning, nearly "
            "whatever the rank. I used 2.5 times."
        ),
        topics=("A10", "F5"),
        followups=(
            "Your loss falls and flattens, and the result is poor. What do you check first? A run with three times the rate: a decaying rate flattens any curve.",
        ),
    ),
    Question(
        question="LoRA or full fine-tuning: what does each learn, and what does each forget?",
        short=(
            "LoRA with a small rank learns less and forgets less. When new facts were read without repeating old ones, full "
            "tuning learned {09.learns_less:.2f} (of 1) more of the new, and LoRA with r = 2 kept {09.forgets_less:.2f} more of the "
            "old. With r = 32 it learned most of what full tuning learned and kept nearly what the thin pair kept; one rate and one length for each, so I would compare whole paths before I called that a better bargain."
        ),
        deep=(
            "Biderman et al. (arXiv 2405.09673) found this for code and mathematics. Beside it, and no proof of the reason, stands the spectrum: the update of "
            "full tuning needed {09.rank_of_full:.1f} times as many directions for 90 % of its size as LoRA's, though the task did "
            "not ask for them. So: LoRA for tone, format, a narrow task, many customers; full tuning for a new language or "
            "domain with much data, mixed with old data. Against forgetting, replay is stronger than any choice of adapter "
            "(chapter 08)."
        ),
        topics=("A10", "K2", "A3"),
        followups=("Is the update of full tuning of low rank? No; but one of low rank that does as well can exist.",),
    ),
    Question(
        question="Does LoRA make inference slower? How do you serve a hundred adapters?",
        short=(
            "Merged, not at all: W + (alpha / r) B A is one matrix. Unmerged it adds two thin products per layer. For a hundred "
            "customers keep one base in memory and the adapters beside it, and apply to each row of the batch its own."
        ),
        deep=(
            "Merge for one task, keep apart for many. Batches with mixed adapters are computed as one product with the base "
            "and a grouped product with the adapters (S-LoRA, arXiv 2311.03285; Punica, arXiv 2310.18547). Do not merge into a "
            "quantized matrix without care: the small update is rounded away, or the weights must be quantized anew "
            "(chapter 10). An adapter belongs to exactly one base: store the base's name and digest beside it. In mine, the adapter "
            "for one task was worse on the other's by at least {09.adapters_differ:.2f}."
        ),
        topics=("A10", "F5"),
        followups=("Can two adapters be added? Sometimes; their updates interfere, so measure it.",),
    ),
]

QUIZ = [
    QuizItem(
        question="A matrix has 1,000 rows and 500 columns. LoRA with r = 4 trains beside it",
        choices=("2,000 numbers", "6,000 numbers", "500,000 numbers"),
        answer=1,
        why="4 x (1,000 + 500).",
    ),
    QuizItem(
        question="At the start of training, which of the two gets a gradient that is not zero?",
        choices=("B", "A", "both"),
        answer=0,
        why="The gradient of A is built from B, which is zero.",
    ),
    QuizItem(
        question="r is doubled, alpha stays. The scale of the update",
        choices=("doubles", "stays", "is halved"),
        answer=2,
        why="It is alpha / r. People who tune alpha / r by accident blame the rank.",
    ),
    QuizItem(
        question="What does LoRA save the least of?",
        choices=("optimizer memory", "disk per task", "time of a training step"),
        answer=2,
        why="Forward and the way back through the frozen layers remain.",
    ),
    QuizItem(
        question="Full tuning's update has a high effective rank. Then LoRA",
        choices=("cannot do the task", "may do it as well: another, thin update can exist", "needs the same rank"),
        answer=1,
        why="Many updates solve a task. Measure the task, not the spectrum.",
    ),
]
