"""Interview questions and quiz of chapter 08."""

from course_utils.interview.bank import Question, QuizItem

QUESTIONS = [
    Question(
        question="A customer's texts are full of trade terms. Do you extend the tokenizer, and what do the new tokens start from?",
        short=(
            "I measure fertility, tokens per word: my domain needed {08.fertility:.1f} more than the language of the base. New tokens "
            "pay if there is much text to learn their rows from; after sixteen steps mine were {08.new_tokens:.1f} bits per byte ahead, and {08.same_text:.1f} after the same text. I start each row "
            "at the mean of its pieces' rows, and compare in bits per byte, since a loss per token changes with the tokens."
        ),
        deep=(
            "What is lost by many pieces is context and compute, and each word has to be put together from parts that mean nothing "
            "here. What is lost by new tokens: rows that must be learned, a model and a tokenizer of one's own to maintain, prompts "
            "of old that are cut differently. Starts: random (the model has never met the word), the mean of all rows with noise "
            "(transformers' default, after Hewitt 2021), the mean of the pieces. At step 0 random rows need not look bad: short rows score 0 "
            "whatever was read, while a mixture of pieces has opinions, and at first often wrong ones. Look after a few steps, and at what is "
            "forgotten. With a tied head the row serves both as input and as output; with an untied one both matrices need new rows. "
            "A large model with much domain text in its training often needs no new token at all."
        ),
        topics=("A4", "A25", "L2"),
        followups=(
            "What must you check after add_tokens? The library finds the word inside longer ones too, and single_word=True may miss it after a space.",
            "What must be trained when you use LoRA? The new rows as well: modules_to_save, or trainable_token_indices in peft.",
        ),
    ),
    Question(
        question="What is catastrophic forgetting? How would you notice it?",
        short=(
            "Training on new data alone overwrites old skills, since nothing in the objective speaks of them. My share of right answers about the old "
            "world fell by {08.forgets:.2f} while the loss on the new texts fell all the time. One notices it only by measuring the old skills."
        ),
        deep=(
            "The gradient of the new texts has no reason to spare weights that only the old texts need, and it moves the rows of tokens that the "
            "new texts never use, by pushing their scores down. The training loss looks splendid, and so does validation on the same domain. So "
            "keep a small test of everything that must survive (facts, formats, arithmetic, refusals) and run it during training, not after. "
            "It is worst with a high rate, many steps and a narrow domain; my domain had some sentences and a few dozen words, which is as narrow as it gets."
        ),
        topics=("A25", "F7", "F9", "+"),
        followups=(
            "Is it the knowledge that is gone, or the access to it? Train a few steps on old text, and see how fast it comes back.",
        ),
    ),
    Question(
        question="What do you do against forgetting, and how do you compare the remedies?",
        short=(
            "Replay, a pull to the start, a lower rate, freezing, adapters. I draw the whole path of each run on the plane of learned against "
            "forgotten, because an end point can always be moved by stopping earlier. Where two fifths of the lore were learned, a quarter of old text "
            "had kept {08.replay_keeps:.2f} more than full tuning, the pull to the start {08.pull_keeps:.2f} more, and a third of the rate {08.slow_keeps:.2f} more."
        ),
        deep=(
            "Replay needs old data, or something like it, and costs its share of the compute. L2-SP (arXiv 1802.01483) needs only the "
            "old weights, and one number to choose: too strong, and nothing is learned. EWC (arXiv 1612.00796) weighs the pull by how much each weight mattered. "
            "Freezing and low rates slow everything down, the new as well, so compare at equal learning and not at equal steps: a low rate may be a better road, or only an earlier place on the same one. "
            "LoRA learns less and forgets less (arXiv 2405.09673), if the adapter is all that is trained: with the whole embedding matrix beside it mine forgot most of all, and {08.lora_rows:.2f} "
            "more was kept where only the new rows were trained. One world, one size, "
            "three seeds: I would draw the plane anew for each project."
        ),
        topics=("A25", "A4", "F7"),
        followups=(
            "How much replay? Start at a few per cent and look: Ibrahim et al. (arXiv 2403.08763) used 5 % for a weak shift, and more for a strong one.",
            "Why does the pull leave out a new head? It has no start worth keeping.",
        ),
    ),
    Question(
        question="Continue pretraining and then tune, or tune at once on questions and answers?",
        short=(
            "Questions teach to answer; reading brings what to answer. Asked about things whose questions were never trained, the model that had read "
            "first was ahead by {08.read_then_tuned:.2f}. Not all that it could complete as text arrived in its answers."
        ),
        deep=(
            "Tuning on pairs teaches those pairs, and a manner of answering the others without knowing (facts that are new to a model are learned late in tuning, and with them it invents more: Gekhman et al., arXiv 2405.05904). Reading many paraphrases first, then tuning on a part of the "
            "questions, carries over to the rest (Physics of Language Models 3.1, arXiv 2309.14316), in part: there, too, the variety of phrasings decides, and "
            "mixing questions into the reading does better than one after the other. The tuning itself forgets what was just read, so it gets the same remedies. "
            "With a few hundred pairs and no texts, write the texts: paraphrases of what matters."
        ),
        topics=("A25", "A4", "A2"),
        followups=("What would you hold out? Whole subjects, not only wordings: otherwise you measure recitation.",),
    ),
    Question(
        question="When would you not fine-tune?",
        short=(
            "When what is missing is a fact that can be looked up, above all one that changes. When the healers changed an hour, the model with the page in its "
            "prompt was right {08.changed:.2f} more often than the one that had learned the lore. Tune behaviour, look up facts."
        ),
        deep=(
            "Order of trying: a better prompt, examples, retrieval, tuning, continued pretraining; each is dearer than the one before. Do not "
            "tune if facts change, if sources must be shown, if there are twenty examples, if nobody can say how success is measured, if the base with a good prompt is "
            "at the plateau already. Do tune for form, tone, a skill, a language, for latency and price. And retrieval is no "
            "magic: the reader must be able to read that domain. My small one could not repeat a foreign word before it was tuned to read; so the answer was often both."
        ),
        topics=("A4", "F2", "F10", "L2"),
        followups=(
            "Could you update the one fact in the weights? Model editing exists (ROME, arXiv 2202.05262); it scales badly and touches neighbours.",
        ),
    ),
    Question(
        question="One case in twenty is urgent, and the classifier has 95 % accuracy. What do you ask, and what do you do?",
        short=(
            "How many of the urgent ones it finds: whoever never says urgent has 95 % as well. I look at the confusion matrix, balanced accuracy and macro F1. Showing the rare "
            "cases more often raised my balanced accuracy by {08.balanced:.2f}; for the plain model accuracy was {08.accuracy_blind:.2f} above balanced accuracy. A lower threshold costs no training at all."
        ),
        deep=(
            "Weighting and oversampling change what the loss counts, and cost precision; the threshold moves along one curve of the same model. Which point is right depends on "
            "the price of a missed case and of a false alarm, and that price is not a matter of taste for the engineer. Report intervals: with thirty rare cases the 95 % interval of a "
            "recall spans some 0.35. Mind absent classes in macro averages, and that F1 of averages is not the average of F1 (arXiv 1911.03347). After weighting, the probabilities are "
            "no longer calibrated. More rare examples beat all of it."
        ),
        topics=("A25", "F7", "F9"),
        followups=(
            "Why not resample the test set? Precision depends on how rare the class is; the test must be as rare as the world.",
        ),
    ),
    Question(
        question="You have twenty labelled examples. Do you fine-tune?",
        short=(
            "I would be careful: at the end my classifier's loss on other cases was {08.by_heart:.1f} nats above that on its own twenty. It knows them by heart. With so few: a prompt with "
            "examples, a frozen body with a small head, early stopping; and use half an hour to label two hundred more."
        ),
        deep=(
            "A million weights fit twenty labels in a few dozen steps. The gap between training and held-out loss opens early, and held-out loss rises "
            "while accuracy may stand still: the model grows sure of its mistakes. With twenty examples even the test is a problem: five held out tell nothing. Cross-validation, a strong prior (few weights, the pull "
            "to the start), augmentation by paraphrase, labels from a stronger model that are checked by hand."
        ),
        topics=("A25", "F7", "F9"),
        followups=(
            "When is a small set enough? When the base can do the task already and only the form is missing (LIMA, arXiv 2305.11206).",
        ),
    ),
]

QUIZ = [
    QuizItem(
        question="Two models have different tokenizers. Which figure compares their losses?",
        choices=("nats per token", "perplexity", "bits per byte"),
        answer=2,
        why="Both others are per token, and the tokens are not the same.",
    ),
    QuizItem(
        question="The loss on the domain's texts falls and falls. What do you know about the old skills?",
        choices=("nothing", "they are kept", "they are lost"),
        answer=0,
        why="Nothing in that loss speaks of them; measure them during training.",
    ),
    QuizItem(
        question="Five per cent of replay, eight rows to a batch: how many old rows has a batch?",
        choices=("none, it is less than half a row", "one in most batches", "none in most batches, one in two of five"),
        answer=2,
        why="0.4 rows a batch on the average: the share must be right over the run, not in each batch.",
    ),
    QuizItem(
        question="Which average F1 may not include a class that occurs neither in the truth nor in the predictions?",
        choices=("macro F1", "micro F1", "both may"),
        answer=0,
        why="Macro F1 averages over classes; an absent one would count with 0. Micro F1 only adds up hits.",
    ),
    QuizItem(
        question="A remedy is revised tomorrow. What is right at once?",
        choices=("the tuned model", "the page that the search finds", "the model after continued pretraining"),
        answer=1,
        why="Weights know what they were trained on; the page is changed by writing.",
    ),
]
