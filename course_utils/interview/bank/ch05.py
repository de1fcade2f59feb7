"""Interview questions and quiz of chapter 05."""

from course_utils.interview.bank import Question, QuizItem

QUESTIONS = [
    Question(
        question="What are zero-, one- and few-shot prompting, and why do a few examples work at all?",
        short=(
            "No, one or some finished examples before the question; no weight changes. Ours went up by {05.one_shot:.2f} with one example. The example did not teach the facts, it named "
            "the task: after four *false* examples of the right kind {05.false_examples:.0%} of the answers were right."
        ),
        deep=(
            "Brown et al. (arXiv 2005.14165) named the three. One reading is inference: the model has seen many kinds of documents, and the examples say which one this is (Xie et al., arXiv 2111.02080). "
            "It fits what I measured: false values of the right kind did no harm, words of no kind left {05.foreign_examples:.0%}, more than one example brought nothing. Min et al. (arXiv 2202.12837) found "
            "the same in large models: random labels cost little, the set of labels and the format matter. What few-shot cannot do is bring a form the model never read: with three examples our base answered "
            "{05.few_shot_questions:.0%} of plain questions. Give the interval with the score: for 150 hits of 150 Wilson's lower end is {05.one_shot_low:.3f}, while a bootstrap says 1."
        ),
        topics=("A18", "L3"),
        followups=(
            "How many examples would you use? As many as raise the score on a held-out set; each costs tokens at every call.",
            "When does few-shot hurt? With an instruction-tuned model whose habit the examples contradict, or a context longer than it was trained on.",
        ),
    ),
    Question(
        question="How sensitive is a prompt to the order and format of its examples, and what do you do about it?",
        short=(
            "Very. With five examples of one relation and a last one of another, {05.recency:.0%} of my answers followed the last. Between the best and the worst punctuation of the same rolls lay {05.format:.2f} of "
            "accuracy. So fix the format, shuffle or balance the examples, try several on held-out questions, and report the exact prompt."
        ),
        deep=(
            "Lu et al. (arXiv 2104.08786): orders of the same examples lie between nearly state of the art and chance, and the good order of one model is not that of another. Zhao et al. (arXiv 2102.09690) name three biases: "
            "the majority label, recency, and tokens common in pretraining; they calibrate by dividing by the probabilities for an empty input. Mine had recency in full and no pull of the majority "
            "({05.no_majority_pull:.3f}), because in its reading those labels are coin tosses. And strip the end: one space at the end of the prompt cost {05.space:.2f}, and {05.space_digits:.0%} of the answers began with "
            "a digit, the only tokens that follow a lone space in its text."
        ),
        topics=("L3", "A18"),
        followups=(
            "Two prompts, 0.81 and 0.84 on 100 questions. Which one? Not known: the intervals overlap; compare them question by question (chapter 15).",
        ),
    ),
    Question(
        question="Temperature, top-k, top-p, beam search: what does each do, and when do you use which?",
        short=(
            "Temperature divides the logits; top-k keeps k tokens; top-p the smallest set that reaches p, so it is narrow where the model is sure. From temperature 1 to 2 my factual precision fell by "
            "{05.heat_costs_truth:.2f}. Beam search looks for the likeliest whole text: {05.beams_are_likelier:.1f} nats likelier than greedy, and nearly the same letter for everybody."
        ),
        deep=(
            "The order matters: temperature first, then top-k, then top-p; so at a high temperature the tail is part of the nucleus, and top-p no longer protects. Beams keep k beginnings, score whole texts by the sum of "
            "log-probabilities over length to some power, and stop when no running beam can win. They suit tasks with one right output (translation, speech). Open text from beams is dull and repeats itself, because likely is not "
            "typical (Holtzman et al., arXiv 1904.09751): I got {05.beams_are_alike:.0%} of the different letters that sampling gave, and {05.greedy_is_alike:.0%} with greedy: it is the search for the likeliest, not the beams. Greedy for facts, JSON and evaluation; sampling for variety, for best-of-n and for RL."
        ),
        topics=("L3",),
        followups=(
            "Temperature 0 and still two different answers: why? Ties, other kernels or batch sizes: floating-point sums in another order.",
            "Why not top-k = 1? It is greedy.",
        ),
    ),
    Question(
        question="What is retrieval-augmented generation, and where does it fail?",
        short=(
            "Search a library with the question, put what is found before it, and let the model read. About strangers it raised my instruct model by {05.rag_gain:.2f}. It fails in the search ({05.retrieved:.0%} of the pages were found), in the cutting, and in "
            "the reading."
        ),
        deep=(
            "Measure the parts apart. *Search*: is the answer in what was found? That is the ceiling. BM25 has no synonyms and no names; vectors and a reranker help. *Cutting*: pieces of two sentences lost the name to which a pronoun refers; "
            "the name in front of each brought {05.pieces_lose_names:.2f} back. *Reading*: split the mean by what is asked. Years lay {05.years_are_hard:.2f} below the rest, nearly all for the fourth digit; the base got {05.rag_base:.2f}, all of it towns, the one relation that it had learned to copy. *Trust*: with a wrong "
            "page the model was right about people it knew in {05.wrong_page:.0%}: the page wins over the memory, which is also how injected text takes over. Lewis et al. (arXiv 2005.11401) trained the generator together with the retriever's question side, the library's vectors fixed; most systems train neither."
        ),
        topics=("A18", "A4"),
        followups=(
            "Your RAG bot answers wrongly. First look? At the passages: right page missing, or right page misread?",
            "Long context instead of retrieval? Then the price per question is the whole library, and the middle is read worst (Liu et al., arXiv 2307.03172).",
        ),
    ),
    Question(
        question="What is prompt tuning, and how does it differ from writing a prompt and from LoRA?",
        short=(
            "A few vectors before the text are trained, and nothing else. Ten of them did rolls in a format where four and sixteen written lines failed: {05.soft_beats_written:.2f} better. To answer questions they stayed "
            "{05.lora_beats_soft:.2f} below LoRA."
        ),
        deep=(
            "A written prompt picks vectors from the embedding table; a soft one may use any. It can select only what the weights already do; LoRA changes what they do. Lester et al. (arXiv 2104.08691) reach full tuning from about ten billion "
            "parameters on, and lag below. Good: a tiny file per task, many tasks in one batch over one frozen model. Bad: it takes context at every call, cannot be read or moved to another model, and likes a high learning rate. The mask must get ones for the vectors, and "
            "the labels -100. Prefix tuning (arXiv 2101.00190) adds vectors at every layer, as keys and values."
        ),
        topics=("L3", "A18", "A4"),
        followups=(
            "Why start from word embeddings? They are vectors that the model can read; random ones start far away.",
        ),
    ),
    Question(
        question="Prompt, retrieve or fine-tune? How do you decide?",
        short=(
            "By what is missing. Form: prompt. Facts: retrieve; about strangers that gave {05.only_retrieval:.2f} more than the best road without a library. Behaviour: fine-tune; on plain questions about known people LoRA was {05.tuning_for_known:.2f} above the best prompt."
        ),
        deep=(
            "Start with a prompt: no set-up, and the baseline of all else. Say the question as the model reads it: as a sentence's beginning ours told {05.wording:.2f} more of its facts than as a question. Retrieve when facts are private, change, or must be cited; pay in "
            "tokens and latency at every question. Fine-tune for a format, tone, task or vocabulary with stable labels, to a smaller model or a shorter prompt; pay once, and again when the base changes. Training facts in is slow and "
            "invites invention (chapters 08 and 16). Many systems do both, tuned reading and retrieved facts. Decide by a table of accuracy, set-up, tokens per question and upkeep, measured on your own questions."
        ),
        topics=("A4", "F2", "L2", "F10", "A18"),
        followups=(
            "A thousand tokens of examples at a million calls a day: what now? Fine-tune or prompt-tune, and count when that is paid back.",
        ),
    ),
]

QUIZ = [
    QuizItem(
        question="One example raises accuracy on the rolls from almost nothing to all. What did it bring?",
        choices=(
            "New facts",
            "Changed weights",
            "The name of the task: which relation is asked for",
            "A lower temperature",
        ),
        answer=2,
        why="False values of the right kind work as well. The facts are in the weights.",
    ),
    QuizItem(
        question="Probabilities 0.5, 0.3, 0.15, 0.05. Which tokens does top-p = 0.7 keep?",
        choices=("The first", "The first two", "The first three", "All"),
        answer=1,
        why="0.5 is below 0.7, and 0.5 + 0.3 reaches it. The token that crosses the limit stays.",
    ),
    QuizItem(
        question="Why does a chatbot not use beam search?",
        choices=(
            "It is not exact",
            "The likeliest text is dull, and the same for everybody",
            "It needs training",
            "It finds less likely texts than greedy",
        ),
        answer=1,
        why="Beams find likelier texts; in open-ended writing likely is not good.",
    ),
    QuizItem(
        question="A word stands in every passage of the library. What does it add to the BM25 scores (Lucene's variant)?",
        choices=("Nearly nothing", "Nearly everything", "A large negative number", "It depends on k1 alone"),
        answer=0,
        why="log(1 + 0.5 / (N + 0.5)) is nearly 0: a word that all hold tells none apart.",
    ),
    QuizItem(
        question="Which road brings facts that no training text held, and that change every day?",
        choices=("A better written prompt", "A soft prompt", "LoRA on last year's data", "Retrieval"),
        answer=3,
        why="Prompts select from the weights; tuning is paid again at every change.",
    ),
]
