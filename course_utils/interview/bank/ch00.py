"""Interview questions and quiz of chapter 00."""

from __future__ import annotations

from course_utils.interview.bank import Question, QuizItem

QUESTIONS = [
    Question(
        question="Through which phases does a large language model go, and what does each of them change?",
        short=(
            "Three phases make it: pretraining on plain text gives language and facts, instruction tuning turns a text "
            "completer into something that answers, alignment with preferences or rewards makes the answers the ones "
            "that people want. Around them come prompting, evaluation, deployment and maintenance. The phases change "
            "different things: on facts that both models had read, my base model answered "
            "{00.base_does_not_answer:.0%} of the questions exactly, the tuned one {00.instruct_answers:.0%}."
        ),
        deep=(
            "- **Pretraining**: next-token prediction on a very large corpus. Nearly all of the compute and nearly all "
            "of the knowledge come from here.\n"
            "- **Instruction tuning** (supervised fine-tuning): far fewer examples, questions with good answers, loss "
            "on the answers only. It adds a format and a habit, hardly any knowledge.\n"
            "- **Alignment**: a reward model learned from comparisons and PPO, or DPO on the comparisons directly, or "
            "GRPO where an answer can be verified. It shifts which of the possible answers the model prefers.\n"
            "- **Around them**: prompting and retrieval change the input, not the weights; evaluation decides what to "
            "change next; distillation and quantization make it cheaper; monitoring and retraining keep it current.\n\n"
            "The proof that tuning added no facts: the questions were about people who occur in the corpus but in no "
            "question of the tuning data."
        ),
        topics=("K1", "P0", "L0"),
        followups=(
            "Which phase would you repeat if the facts have changed? And if the tone is wrong? For facts further pretraining, "
            "or retrieval if they change often; for the tone tuning or alignment, which are cheap.",
            "Where does most of the compute go, and where do most of the complaints of users come from? The compute goes into "
            "pretraining; what users notice, manner and refusals and inventions, is mostly the work of the later phases.",
        ),
    ),
    Question(
        question="What is the difference between a base model and an instruct model?",
        short=(
            "A base model continues text; asked a question it goes on writing, perhaps with another question. An "
            "instruct model was tuned on instructions with answers, so it answers, and it stops. In my run the same "
            "questions gave an exact match of {00.base_does_not_answer:.0%} for the base and {00.instruct_answers:.0%} "
            "for the instruct model, although both had read the same facts."
        ),
        deep=(
            "The architecture is the same, and the weights start from the base's. "
            "What differs is the distribution that the model continues: an instruct model expects a *chat template*, "
            "special tokens that mark who speaks, and ends its turn with an end token. Two practical consequences:\n\n"
            "- use the template the model was tuned with; another one makes it noticeably worse;\n"
            "- to continue text, to score text, or to start your own fine-tuning, the base model is often the better "
            "choice."
        ),
        topics=("K1", "P0"),
        followups=(
            "How would you make a base model answer without any training? Begin the sentence that states the answer and let "
            "it go on. Examples of questions with answers help only if its corpus held such pages (chapter 05).",
        ),
    ),
    Question(
        question="A model answers a question about something that it cannot know. What happens, and why?",
        short=(
            "It usually invents an answer in the right form. My model named something untrue in "
            "{00.strangers_invented:.0%} of the questions about people who appear in none of its training text. Tuning "
            "taught it that a question is followed by an answer; nothing taught it to abstain."
        ),
        deep=(
            "The model must give some next token a high probability, and the form of an answer is well learned, so it "
            "fills the form. Its own probabilities do carry a warning: I paired answers about known people with answers "
            "about unknown ones, and in {00.less_sure:.0%} of the pairs the known person's answer was the more probable "
            "one (half would be chance). Remedies differ in cost: examples of abstention (which also "
            "make it refuse what it knows), a threshold on the probability, retrieval of a passage to answer from, and"
            " rewards that punish invention."
        ),
        topics=("K1", "L0"),
        followups=(
            "If you add 'I do not know' examples, what can go wrong? The model may learn *for which names* to say so, not what "
            "it knows: then it also refuses people whom it has read about (chapter 16).",
            "Is the probability of an answer a good measure of its truth? Only a rough one: it separates groups, but some "
            "inventions are held with confidence, and several wordings share one answer's probability.",
        ),
    ),
    Question(
        question="How do you score short answers automatically, and what does the score not see?",
        short=(
            "Exact match: bring answer and reference into one form (lower case, single spaces, no final stop) and "
            "compare. It is cheap, and nobody can argue about it. It does not see paraphrases, and it treats an "
            "invention like an honest 'I do not know'."
        ),
        deep=(
            "Decide beforehand what does not matter, and apply it to both sides. SQuAD (arXiv 1606.05250) also drops "
            "punctuation and articles. Never test whether the reference is *contained* in the answer: who names every "
            "town is then always right. Where wording is free, one needs overlap measures, several references, a "
            "program that knows the facts, or a judge model whose agreement with people was measured."
        ),
        topics=("L0",),
        followups=(
            "How would you score an answer in JSON? Parse it, then compare the fields: key order and spaces do not matter, a "
            "text that cannot be parsed is wrong.",
        ),
    ),
    Question(
        question="How long would it take to train a model with N parameters on D tokens?",
        short=(
            "About 6 N D operations, divided by what the hardware really delivers: peak rate times utilization. For a "
            "billion parameters and 20 billion tokens that is 1.2e20 operations; at 4e14 per second, which is 40 % "
            "of a good GPU's peak, three and a half days on one GPU."
        ),
        deep=(
            "Two operations per parameter and token forward, four backward. Attention adds a term that grows with the "
            "length of the rows, `12 * layers * hidden * length` per token (PaLM, arXiv 2204.02311, appendix B); for "
            "short rows it is small. Utilizations of 30 to 50 % are usual in large runs; my small model reached "
            "{00.utilization:.0%} of the rate at which my machine multiplies matrices. For a model half as wide the "
            "formula, with that figure, predicted {00.formula:.2f} times the time that I then measured. The estimate leaves out what is "
            "lost to restarts, evaluation and loading, so plan with a margin, and measure the utilization with a "
            "few steps before you promise a date."
        ),
        topics=("L0",),
        followups=(
            "Why is the backward pass twice as expensive as the forward pass? It has two products where the forward pass has "
            "one: for the gradient of the weights and for the gradient of the inputs.",
            "What changes in the estimate if only a LoRA adapter is trained? The gradient of the frozen matrices falls away: "
            "about 4 N D instead of 6 N D (chapter 09 measures it).",
        ),
    ),
]

QUIZ = [
    QuizItem(
        question="You type a question into a base model that has never been tuned. What do you most likely get?",
        choices=(
            "The answer, if the fact was in the corpus",
            "An error, because the chat template is missing",
            "More text of the kind it was trained on, as if your question were the start of a page",
        ),
        answer=2,
        why="A base model continues text. The facts may be in it; the habit of answering is not.",
    ),
    QuizItem(
        question="Why is exact match measured on people about whom the tuning data asked nothing?",
        choices=(
            "Their facts are easier",
            "Otherwise the score could come from answers learned by heart during tuning",
            "The oracle knows only these people",
        ),
        answer=1,
        why="On known people, the fact must come from pretraining and the answering from tuning.",
    ),
    QuizItem(
        question="How many bits does it take to say which of 64 equally likely people was drawn?",
        choices=("6", "8", "32", "64"),
        answer=0,
        why="log2(64) = 6: six yes-no questions, each of which halves the group.",
    ),
    QuizItem(
        question="You double the parameters and the tokens, on the same machine. Training takes",
        choices=("twice as long", "four times as long", "eight times as long"),
        answer=1,
        why="The work is 6 N D: twice the parameters times twice the tokens.",
    ),
    QuizItem(
        question="An exercise in this course is still open. What do the later cells use?",
        choices=("The course's reference version", "Your last attempt, right or wrong", "Nothing: they fail"),
        answer=0,
        why="Nobody gets stuck: the reference takes the place until your own version is right.",
    ),
]
