"""Interview questions and quiz of chapter 06."""

from course_utils.interview.bank import Question, QuizItem

QUESTIONS = [
    Question(
        question="What does instruction tuning change in a language model, and what does it leave as it was?",
        short=(
            "It changes the manner, not the knowledge. A pretrained model continues text; after tuning on pairs "
            "of instruction and answer it takes a question as something to be answered, in the form that was "
            "demanded, and then stops. In my run exact answers rose from {06.base_exact_match} to "
            "{06.known_exact_match} on people about whom *no instruction was ever given*: the facts had been in "
            "the weights since pretraining."
        ),
        deep=(
            "The evidence is the split. *Taught* people are in the corpus and in the instruction data, *known* "
            "people only in the corpus. What improves on the known cannot have come from the instructions. Allen-Zhu "
            "and Li (arXiv 2309.14316) show the condition: facts must have been seen in several phrasings, or "
            "they are memorised but cannot be brought out by questions.\n\nThe other side: about strangers the "
            "tuned model invents an answer in {06.strangers_invented:.0%} of the cases. Every example showed a "
            "confident answer, and that is what it learned."
        ),
        topics=(
            "K3",
            "A6",
            "P1",
        ),
        followups=(
            "How would you show that the knowledge was there before? Let the base continue a sentence that stops just before "
            "the fact, and ask after tuning about people whom no instruction mentions.",
            (
                "Would adding the strangers' facts to the instruction data help? (Gekhman et al., arXiv "
                "2405.05904: it raises invention.)"
            ),
        ),
    ),
    Question(
        question="Walk me through supervised fine-tuning for instructions, from the file to the loss.",
        short=(
            "Read every row as a list of messages and validate it. Render it with the chat template. Set labels "
            "to -100 on all that the assistant did not say, keep the end token. Pad, average next-token "
            "cross-entropy over the answer tokens of the whole batch. Small learning rate, warm-up, few epochs; "
            "watch held-out instructions, not the loss alone."
        ),
        deep=(
            "$\\mathcal{L} = -\\frac{1}{|A|}\\sum_{t \\in A}\\log p_\\theta(x_t \\mid x_{<t})$ with $A$ the "
            "answer positions of the batch. Three details decide: the shift by one happens **once**; the end "
            "token is **in** $A$; the mean is over all answer tokens of the batch, also across micro-batches. My "
            "loop and trl's `SFTTrainer`, given the same rows, differ by {06.trl_gap:.1%} in exact match on known "
            "people."
        ),
        topics=(
            "A6",
            "F8",
        ),
        followups=(
            "What changes if several conversations are packed into one row? The labels stay as they are. Attention should "
            "not cross from one conversation to the next: the mask or the positions must say where each begins.",
            "Why is the learning rate usually lower than in pretraining? The weights hold what is to be kept, and large "
            "steps shake it. My small model was tuned at half its peak; large ones at a tenth and less.",
        ),
    ),
    Question(
        question="Why mask the prompt, and when would you not?",
        short=(
            "The loss should teach answering, not asking. After two fifths of my run masking was ahead by "
            "{06.masking_helps:.2f} in exact match; the gap narrowed later. Shi et al. (arXiv 2405.14394) found "
            "the opposite with long instructions, short answers and few examples, where loss on the prompt works "
            "against overfitting. So: mask by default, and test both when the data is small."
        ),
        deep=(
            "Without the mask the mean also runs over the tokens that the user will write, so each answer token "
            "weighs less in every step. With many different rows that costs time more than quality. With few rows, "
            "seen again and again, the prompts are further text to learn from, and the answers are not learned by "
            "heart so fast. In multi-turn chats all assistant turns are usually learned, each given what came before."
        ),
        topics=("A6",),
        followups=(
            "Which label does PyTorch skip? -100, the default `ignore_index` of cross-entropy.",
            "Do masked tokens still influence the weights? (Yes: answers attend to them.)",
        ),
    ),
    Question(
        question=(
            "A tuned model is brilliant in your evaluation and poor in production. Nothing has crashed. What do "
            "you look at first?"
        ),
        short=(
            "At the token ids that reach the model, beside those that it was tuned on. A different chat template "
            "is the usual cause: asking my own assistant in another model's template lost {06.wrong_template} of "
            "exact match, without any error."
        ),
        deep=(
            "Check in this order: role tokens present and encoded as *one* id each; bos exactly once (template "
            "plus tokenizer may add two); the generation prompt (`add_generation_prompt=True`) there; no stray "
            "space; the end token among the stop ids. Not every slip costs the same: without the first `<|end|>` my "
            "model lost little, without `<|assistant|>` {06.no_role:.2f} of exact match. Answers that start right and run on "
            "point to the end token: `pad_token = eos_token` with labels masked by `input_ids == pad_id` hides every real end. In "
            "my run such a model began right but did not stop there in {06.never_stops:.0%} of the cases."
        ),
        topics=(
            "K3",
            "A6",
        ),
        followups=(
            (
                "How do you keep a user from forging a turn by typing `<|assistant|>`? (Contents are encoded with "
                "`split_special_tokens=True`: what is typed stays plain characters.)"
            ),
        ),
    ),
    Question(
        question="How much instruction data do you need, and of what kind?",
        short=(
            "Far less than for pretraining: LIMA (arXiv 2305.11206) used 1,000 careful examples. In my sweep a "
            "hundred different conversations did better than four hundred in the same few steps: data and steps grow "
            "together. Beyond that the number of *kinds* of tasks counts (FLAN, arXiv 2109.01652)."
        ),
        deep=(
            "Same number of steps, more and more different conversations: a hundred were {06.examples_enough:.2f} "
            "better in exact match than twenty-five, four hundred worse than a hundred. With four times the steps the "
            "four hundred gained {06.more_steps:.2f}. People whom the data asks about and people whom it never mentions "
            "rose and fell together, so the examples taught the manner. With the fewest rows the base lost facts. And a "
            "pair of topic and format that the data never showed, the pet as JSON, came out right in "
            "{06.unseen_pair:.0%} of the cases."
        ),
        topics=(
            "K3",
            "F8",
        ),
        followups=(
            "How would you choose 1,000 out of 100,000? Remove near-duplicates and what is wrong, then spread the choice "
            "over kinds of tasks, formats and lengths; look at a hundred by eye.",
            "What would you hold out? Whole entities and whole kinds of tasks, not random rows: else the test asks what was shown.",
        ),
    ),
    Question(
        question="In which formats does fine-tuning data come, and how do you bring them together?",
        short=(
            "Pairs of instruction and response, chats with roles, texts with labels (a table), and for alignment "
            "preference pairs. I turn all of them into lists of messages, with a question for labelled rows, "
            "validate row by row, and apply one template at the end."
        ),
        deep=(
            "Errors name the row: a missing column, an unknown role, an empty answer. The template belongs to "
            "the model, the messages to the data, so store messages. For a labelled text write the *question* "
            "and the label as a word: a number has no meaning to the model. Keep evaluation rows apart **by "
            "entity**, as the known people here, not at random."
        ),
        topics=("F8",),
        followups=(
            "And a table with ten columns? Choose what is asked for, write the others into the question by name, and keep the "
            "label a word.",
            "What does a preference row hold? A prompt and two answers, the chosen and the rejected one (chapter 11).",
        ),
    ),
]

QUIZ = [
    QuizItem(
        question=(
            "Known people are never mentioned in the instruction data. Why can the tuned model answer about them?"
        ),
        choices=(
            "Pretraining stored the facts; tuning taught it to bring facts out on a question",
            "Their facts leak from the taught people's answers",
            "The evaluation questions were part of the tuning data",
        ),
        answer=0,
        why="The base model continues their sentences rightly before any tuning.",
    ),
    QuizItem(
        question="Which tokens of `<|end|><|user|>Where?<|assistant|>There.<|end|>` carry a label?",
        choices=(
            "All",
            "`There.`",
            "`There.<|end|>`",
            "`<|assistant|>There.<|end|>`",
        ),
        answer=2,
        why="The role token is written by us at inference; the end must be learned.",
    ),
    QuizItem(
        question=(
            "Two rows, with 1 and 9 answer tokens and mean losses 2.0 and 1.0. What is the SFT loss of the batch?"
        ),
        choices=(
            "1.5",
            "1.1",
            "3.0",
        ),
        answer=1,
        why="(1 * 2.0 + 9 * 1.0) / 10: every answer token weighs the same.",
    ),
    QuizItem(
        question="You set `pad_token = eos_token` and mask labels where `input_ids == pad_id`. What happens?",
        choices=(
            "Training crashes",
            "Nothing, this is usual",
            "The model never learns to stop",
        ),
        answer=2,
        why="The real end tokens are masked too. Mask by length.",
    ),
    QuizItem(
        question=(
            "The tuned model invents answers about strangers. What would more instruction data of the same kind do?"
        ),
        choices=(
            "Cure it",
            "Leave it: no example shows what to say when nothing is known",
            "Make the model forget the known people",
        ),
        answer=1,
        why="It imitates the manner of the data, and in these data every question gets an answer.",
    ),
]
