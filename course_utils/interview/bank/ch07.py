"""Interview questions and quiz of chapter 07."""

from course_utils.interview.bank import Question, QuizItem

QUESTIONS = [
    Question(
        question="What is fine-tuning, and what does it reuse from pretraining?",
        short=(
            "Going on with training from a pretrained model's weights, on a task. What is reused are features: what the body makes of a text. In my run the "
            "base, tuned on 48 letters, was {07.transfer:.2f} more accurate on new phrasings than the same network from scratch with 192. From scratch it knew the "
            "taught phrasings by heart: {07.scratch_by_heart:.2f} better on those than on new ones."
        ),
        deep=(
            "Transfer shows in two ways: fewer labels for the same accuracy, and the right answer where the labels say nothing. In my letters no label says that two phrasings mean the same "
            "tone; pretraining did. Be exact about *what* pretraining has seen: my base has read letters with a line `Tone: x.` below, which is what real models read "
            "in reviews with stars. If the task were unlike anything in the corpus, the gap would be smaller. Sources: ULMFiT (1801.06146) matched training from scratch with "
            "a hundredth of the labels on some sets; Gururangan et al. (2004.10964) on the distance between corpus and task."
        ),
        topics=("A1", "F1", "L1", "A5"),
        followups=(
            "Would more labels have saved the network from scratch? Not more of the same phrasings.",
            "How would you find out what a closed model has seen? Fresh data made after its cut-off, and probes (chapter 15).",
        ),
    ),
    Question(
        question="Which kinds of fine-tuning do you know, and how do you choose?",
        short=(
            "By aim: instruction tuning, task tuning, alignment. By what is trained: everything, the head on a frozen body, or a small part (adapters, LoRA, prompts, prefixes). I start "
            "with the frozen body, because it costs next to nothing: {07.memory_frozen:.0%} of full tuning's memory in my table. If the features are not there, LoRA. Full tuning if there is much data and one task."
        ),
        deep=(
            "Feature extraction needs the information at the place that is read: in my run a head at the cue `Tone:` was {07.where_to_read:.2f} better on new phrasings than one at the full stop before it, which learned its own letters well. Full tuning changes most, forgets most, and is the "
            "most sensitive to its rate; with few labels it may distort features that were good (Kumar et al., 2202.10054: better on familiar data, worse on shifted data; remedy: train the head first, then all). PEFT keeps the base, so "
            "one base serves many tasks. Compare methods only at rates that were chosen for each, on data that share no group with the training data, and over several seeds: my test has eight phrasings, and two more or fewer change the order."
        ),
        topics=("K2", "A3", "A5", "A9"),
        followups=(
            "When is no fine-tuning the answer? When a prompt does it, or the facts change daily (chapters 05 and 16).",
            "What is the cheapest first experiment? A linear head on stored features: seconds.",
        ),
    ),
    Question(
        question="Adapters, LoRA, prompt tuning, prefix tuning: how do they differ?",
        short=(
            "Adapters: narrow networks behind each part of a block, with a nonlinearity. LoRA: thin matrices beside the frozen ones, which can be merged. A soft prompt: trained vectors before the text, at the input only. A prefix: "
            "trained keys and values in every layer. All keep the base frozen, and all keep most of its activations: LoRA's were {07.lora_activations:.0%} of full tuning's."
        ),
        deep=(
            "Start: adapters with `up` at zero leave the logits exactly as they were (largest change {07.starts_frozen}); LoRA with B at zero the same; a prefix cannot start neutral, so it starts as the keys and values of real tokens. Inference: LoRA merged costs nothing; adapters cost two "
            "thin layers in sequence; prompts and prefixes cost context, and room in the cache. Size in a 7B model: a soft prompt of 20 vectors 82 thousand numbers, LoRA with r = 8 on all matrices about 20 million. He et al. (2110.04366) show that all are one family: "
            "a prefix is attention mixed with a second one by a gate. Prompt tuning catches up with full tuning only in large models (2104.08691, figure 1)."
        ),
        topics=("A9", "A3"),
        followups=(
            "Why does a frozen model still keep activations? The gradient of what is trained passes through all layers above it.",
            "Which of them can be batched over users? All that only add: prompts, prefixes, adapters, unmerged LoRA.",
        ),
    ),
    Question(
        question="What is gradual unfreezing, and why would it help?",
        short=(
            "Train the head first, then the last block too, then one block more at a time, with smaller rates below. The new head's first gradients are noise; while it settles, the body is spared. On my small test the order was open: over three seeds it was above full tuning twice "
            "and below once, by a phrasing or two of eight."
        ),
        deep=(
            "ULMFiT (1801.06146, section 3) has three parts: rates that fall by 2.6 per layer, a slanted triangular schedule, and gradual unfreezing. Lower layers hold the more general features, so they should move last and least. Its modern form is LP-FT: "
            "first the head alone, then everything (2202.10054). With LoRA it is hardly used, because the start is neutral. Costs: one more schedule to tune, and stages that must be long enough. For a domain with words of its own the "
            "embeddings must learn too, so do not leave them for the end (chapter 08)."
        ),
        topics=("A5", "A3"),
        followups=(
            "What does the optimizer do with parameters that join later? New groups, or a new optimizer at each stage, as in my loop.",
        ),
    ),
    Question(
        question="How do you see overfitting, and what do you do about it?",
        short=(
            "Training loss falls, validation loss turns. With about a quarter of the labels wrong, mine ended at {07.overfitting:.1f} times its best, and the model repeated {07.noise_by_heart:.0%} of the wrong ones. Going back to the best step changed the accuracy on new phrasings by {07.early_stop_gain:+.2f}. Dropout "
            "cut that share by {07.dropout_recites_less:.2f}. The usual weight decay changed nothing."
        ),
        deep=(
            "First look at the data: wrong labels, duplicates, too few groups. Then stop early, with patience because the curve is rough, and go back to the best weights. Dropout makes single letters hard to recite. Weight decay in AdamW shrinks weights by rate x decay per step: "
            "over a short tuning that is nothing (in my run 0.4 per cent), and a strong one would pull the base towards zero, not towards what it knew; L2-SP (1802.01483) pulls towards the start instead. Fewer trained numbers help too, but LoRA also learns noise by heart if it runs long enough. Chance of "
            "being wrong: a validation set of few groups turns at a place that another one would not."
        ),
        topics=("F7", "F9", "A2"),
        followups=(
            "Accuracy is flat while the loss rises: overfitting? Yes, the model grows sure of its mistakes; look at both.",
            "May the test set choose the stopping step? No: then it is a validation set.",
        ),
    ),
    Question(
        question="How do you search for hyperparameters, and how far do you trust the best score?",
        short=(
            "Fix the budget first: trials, steps, and the same for each method, the default too. In my searches the best of 16 by TPE looked {07.optimism_tpe:.2f} better where it was chosen than on phrasings that had no say. "
            "There it was {07.search_gain:+.2f} against the default. So report the score on data that chose nothing, once."
        ),
        deep=(
            "The best of n scores is too good because the maximum picks luck along with merit (Cawley and Talbot, JMLR 11, 2010); the more trials, the more luck it finds. More validation data, and more *groups*, shrink the gap; nested or repeated splits measure it; the test is opened once. Rates are searched on a logarithmic "
            "scale. Random search beats a grid when few settings matter (Bergstra and Bengio 2012). TPE (Bergstra et al. 2011) models the settings of good and of bad trials and draws where their ratio is high; its first trials are random, so "
            "with a budget of ten it hardly differs from random. A baseline with the default and a smaller budget is the most common way to fool oneself (Dodge et al., 1909.03004: report the expected best over the budget)."
        ),
        topics=("A2", "F7"),
        followups=(
            "You have money for 20 runs. Rate first, on a logarithmic scale; then steps; the rest can keep its default.",
            "Why not simply the seed? Best of n seeds is a search as well.",
        ),
    ),
    Question(
        question="Validation says 1.00, production says 0.4. Where do you look?",
        short=(
            "At groups that stand on both sides of the split. I dealt single sentences at random, so each phrasing was in training and in validation: a network from scratch looked {07.leak:.2f} better in validation than in the test. Split by group, and it shows at once."
        ),
        deep=(
            "Groups are whatever makes rows alike: person, patient, document, template, day, near-duplicate. Count the overlap between the parts in code, as a test that runs with the training. Other leaks: features made after the fact, normalization fitted on all rows, duplicates across parts "
            "(chapter 01), a test that chose the checkpoint. If production shifts over time, split by time. A leak does not hurt all candidates alike: it favours those that learn by heart, so the *choice* is wrong, not only the figure."
        ),
        topics=("A2", "F9"),
        followups=(
            "How large must the test be? Count groups, not rows: eight phrasings are a small test, however many letters.",
        ),
    ),
]

QUIZ = [
    QuizItem(
        question="You freeze the body and train a head. Which memory stays?",
        choices=(
            "Weights only, nearly",
            "Weights and all activations",
            "Weights, gradients and Adam's averages of the body",
        ),
        answer=0,
        why="Without a trained parameter below the head autograd keeps nothing of the body.",
    ),
    QuizItem(
        question="Why does LoRA save little of the activations?",
        choices=(
            "Its rank is too high",
            "Gradients still flow through all layers above the lowest adapter",
            "Adam needs them",
        ),
        answer=1,
        why="What is frozen needs no gradient of its own, but passes one on.",
    ),
    QuizItem(
        question="Several rows come from one patient. How do you split?",
        choices=("By row, at random", "By row, stratified by label", "By patient"),
        answer=2,
        why="Otherwise the model can recognize the patient, and validation rewards it.",
    ),
    QuizItem(
        question="Early stopping with patience 3: which weights do you keep?",
        choices=("The last ones", "Those of the best evaluation", "The mean of the last three"),
        answer=1,
        why="The three evaluations after the best were only needed to see that it was the best.",
    ),
    QuizItem(
        question="A search over 200 settings finds 0.97 on validation. What do you report?",
        choices=("0.97", "The score of that setting on a test that chose nothing", "The mean of the 200"),
        answer=1,
        why="The maximum over 200 is partly luck.",
    ),
]
