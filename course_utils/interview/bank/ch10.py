"""Interview questions and quiz of chapter 10."""

from course_utils.interview.bank import Question, QuizItem

QUESTIONS = [
    Question(
        question="What is QLoRA, and why did it become popular?",
        short=(
            "The base is stored in 4 bits a number and frozen; adapters in 16 bits are trained beside it, and gradients pass through the dequantized matrices. "
            "By formula a 7 B model then trains in {10.gb_7b:.1f} GB and a 70 B model in {10.gb_70b:.0f} GB, a third of what LoRA on 16 bits takes. My adapter through NF4 was within "
            "{10.gap_by_hand:.3f} of exact match of the one on the 16-bit base."
        ),
        deep=(
            "Three parts (Dettmers et al., arXiv 2305.14314): NF4, a codebook for bell-shaped numbers, in blocks of 64; double quantization of the scales; paged optimizers for spikes of memory. "
            "Storage is in 4 bits, computing in bf16: each matrix is dequantized when it is used, forward and again backward, and thrown away. So it saves memory and costs time, here {10.time:.2f} times the processor time of a pass, unlike int8 or fp8 *arithmetic*. "
            "Adapters sit on all linear layers, which the paper found to matter for reaching 16-bit quality; they learn on the rounded model and can make up for part of the rounding (mine hardly did: moved to the original base, the loss was {10.other_base:.2f} times as high). Memory that stays: activations "
            "(hence gradient checkpointing), embeddings and head in 16 bits, 16 bytes per trained number."
        ),
        topics=("A10", "A13", "F5"),
        followups=(
            "Is QLoRA faster than LoRA? No, each step also dequantizes; it needs less memory, which may allow a larger batch.",
            "Which numbers get a gradient? A and B. The codes get none; the gradient of x passes through the matrix.",
        ),
    ),
    Question(
        question="What is NF4, and why is it better than int4?",
        short=(
            "16 values at quantiles of the normal distribution, with an exact 0, scaled by the absmax of a block. Weights are bell-shaped, so values are wanted near the middle. "
            "On my model the error of int4 was {10.nf4_beats_int4:.2f} times that of NF4, which was {10.nf4_error:.3f} of the weights' norm."
        ),
        deep=(
            "8 quantiles above and 7 below 0 in equal steps of probability, up to 1 - (1/32 + 1/30)/2, divided by the largest. My codebook equals bitsandbytes' to {10.same_codebook:.0e}, and the packed bytes differ in "
            "{10.different_bytes:.0f} places. Equal use of the codes wastes no bit, but is not the same as the least squared error; and after division by the absmax the numbers are not quite normal, with the block size deciding how "
            "(Yoshida, arXiv 2306.06965). In nats per token NF4 cost {10.nf4_cost:.4f} on my texts: rounding errors of many numbers cancel in a sum. FP4 spends its codes on range and had the larger error here; in nats they were too close to tell apart."
        ),
        topics=("A13", "A26"),
        followups=(
            "Why blocks? An outlier spoils the scale of its block alone. Smaller blocks, smaller error, more scales.",
            "What do GPTQ and AWQ do differently? They look at activations, and round so that the *outputs* change least.",
        ),
    ),
    Question(
        question="What does double quantization save? Derive the bits per parameter.",
        short=(
            "A scale in 32 bits for 64 numbers costs 0.5 bit for each. In 8 bits, with one second scale per 256 scales, it is 8/64 + 32/(64 * 256) = 0.127. Together "
            "{10.bits_by_formula:.3f} bits; counted in my tensors {10.bits_by_count:.3f}."
        ),
        deep=(
            "The scales are positive, so their mean is subtracted first; then they spread around 0 and a signed 8-bit codebook fits. It saves 0.373 bit per parameter: 3 GB of a 65 B model (arXiv 2305.14314, sections 1 and 3). It loses next to nothing: "
            "{10.same_scales:.1%} of my scale codes were those of bitsandbytes; any that differ lie in the middle between two entries. The count exceeds the formula by the mean that each matrix stores, and by unfilled last blocks of scales. "
            "Embeddings and head in 16 bits raise the average of the whole model above 4.127."
        ),
        topics=("A10", "A13"),
        followups=(
            "Why not longer blocks and plain scales? Blocks of 256 cost 4 + 32/256 = 4.125, as much as double quantization, and the error is larger.",
        ),
    ),
    Question(
        question="How much memory do you need to tune a 7 B, 13 B and 70 B model?",
        short=(
            "Full tuning: 16 bytes per parameter, 108 GB for 7 B. LoRA: 2 bytes, 14 GB and some. QLoRA: about half a byte and the rest, {10.gb_7b:.1f}, {10.gb_13b:.1f} and {10.gb_70b:.1f} GB for the three, one row of 1,024 tokens, rank 16. "
            "So cards of 8, 16 and 48 GB."
        ),
        deep=(
            "Count weights, trained numbers (16 bytes each: weight, gradient, 32-bit copy, two averages), activations and working space. Activations grow with tokens: rows of 256 tokens kept {10.spike:.1f} times as much as rows of 32 on my model. With checkpointing about 2 bytes per token, layer "
            "and hidden number, and scores over the vocabulary, which dominate in small models with large vocabularies. LoRA on 16 bits needs {10.saved:.1f} times the memory of QLoRA at 70 B. Leave a margin of 5 to 10 per cent for driver and fragmentation."
        ),
        topics=("A10", "A13", "F5"),
        followups=(
            "Out of memory at step 700? The longest row came. Cap the length, sort out the row, use checkpointing or a paged optimizer.",
        ),
    ),
    Question(
        question="What is a paged optimizer?",
        short=(
            "Adam's averages lie in memory that GPU and CPU share page by page. When activations spike, pages move to the CPU, and come back for the optimizer's step. The arithmetic is the same. It is a safety net for the worst batch: "
            "mine needs {10.spike:.1f} times the activations at 256 tokens that it needs at 32."
        ),
        deep=(
            "CUDA's unified memory moves pages by itself when the card is full, as an operating system does with the disk; bitsandbytes allocates the optimizer's state there (`optim=\"paged_adamw_32bit\"` or `paged_adamw_8bit`). As long as all fits there is no cost; each moved page costs time on the bus. "
            "The averages suit it, because they are touched once a step. Paging saves at most what they hold: 54 GB with full tuning of 7 B, 0.3 GB with adapters of rank 16. It does not help if weights and activations alone exceed the card."
        ),
        topics=("A13", "A12"),
        followups=(
            "How is it unlike offloading by DeepSpeed or FSDP? Those move on a plan, always; paging moves on need.",
        ),
    ),
    Question(
        question="You trained with QLoRA. How do you deploy, and can you merge?",
        short=(
            "Beside the 4-bit base: exact. Merged into the dequantized base: exact (loss apart by {10.exact_merge:.4f}), but 16 bits. Merged and quantized again: the second rounding was {10.second_rounding:.0%} of the size of what the adapter says, and "
            "the loss rose by a factor of {10.requantize_cost:.2f}."
        ),
        deep=(
            "The adapter was trained on the rounded weights; in theory it corrects a rounding that the original 16-bit base does not have. My loss there was {10.other_base:.2f} times the exact one, so it had learned hardly anything special to the rounding; measure before you ship. Quantizing again rounds base plus update on the same coarse grid; an update smaller than half a step "
            "mostly vanishes. Better: keep the adapter apart (a server can hold hundreds on one base), or merge in 16 bits and quantize with a method that looks at activations, or to 8 bits. Whatever you ship, run the exam on the shipped form."
        ),
        topics=("A10", "A26"),
        followups=(
            "What does peft's merge_and_unload do on a 4-bit layer? It dequantizes, adds, and quantizes again.",
        ),
    ),
    Question(
        question="How would you make sure that a quantized base is what it should be?",
        short=(
            "Before any training: the loss of the quantized model beside that of the 16-bit one, and each matrix beside its original. Training does not show a fault. I misread the scales of a quarter of the weights on purpose; the exam after "
            "tuning moved by {10.unseen:.3f}, but before tuning the loss was {10.before:.3f} nats per token above that of the same model read rightly, where NF4 itself cost {10.nf4_cost:.4f}, and the matrices stood out by a factor of {10.found:.1f}."
        ),
        deep=(
            "My case is real: rows that are no whole number of blocks, and a CPU kernel that counts blocks per row. No shape is wrong and nothing raises. Relative errors should be alike across layers, about 0.09 for NF4 in blocks of 64 on bell-shaped weights; "
            "a layer that stands out is misread or has outliers. Then the rest of the chain: same base revision, block size and format in training and in use, same compute dtype, merged into which base, chat template. Rounding itself does little until it does much: even steps of 2 bits cost my model {10.two_bits:.1f} nats per token."
        ),
        topics=("F7", "A13", "A26"),
        followups=("How would you guard against it? A test that dequantizes a matrix in two independent ways.",),
    ),
]

QUIZ = [
    QuizItem(
        question="In which precision does QLoRA multiply matrices?",
        choices=("4 bits", "8 bits", "16 bits, after dequantizing"),
        answer=2,
        why="4 bits is how they are stored; each matrix is dequantized while it is used.",
    ),
    QuizItem(
        question="Why does NF4 have 7 values below 0 and 8 above?",
        choices=(
            "Weights are mostly positive",
            "One of 16 codes is an exact 0, and 15 cannot be halved",
            "It is faster",
        ),
        answer=1,
        why="A 0 is wanted for padding and for zeros; one side gets the odd code.",
    ),
    QuizItem(
        question="Which of these gets smaller with double quantization?",
        choices=("The codes", "The scales", "The adapters"),
        answer=1,
        why="0.5 bit per parameter becomes 0.127; the codes keep their 4 bits.",
    ),
    QuizItem(
        question="A row of 4,000 tokens ends your run with out of memory. What grew?",
        choices=("The weights", "Adam's averages", "The activations"),
        answer=2,
        why="Only activations depend on the batch; a paged optimizer makes room by moving the averages.",
    ),
    QuizItem(
        question="Which way to deploy changes what the tuned model computes the least?",
        choices=(
            "The adapter beside the 4-bit base",
            "Merged into the original 16-bit base",
            "Merged, and quantized again",
        ),
        answer=0,
        why="It is what was trained. The original base is another one, and a second rounding is a new error.",
    ),
]
