"""Interview questions and quiz of chapter 03."""

from course_utils.interview.bank import Question, QuizItem

QUESTIONS = [
    Question(
        question="What exactly is a language model trained to do, and what loss do you expect at step 0 and at the end?",
        short="To give the next token of a text a high probability: mean cross-entropy of the scores at each place with "
        "the token one place later. At step 0 the loss is log V, because an untrained model finds all V tokens equally "
        "likely; mine divided by log V was {03.first_loss:.2f}. At the end it cannot fall below the entropy of the text. On the "
        "Isles that floor is known, and the base model ends {03.entropy_gap:.1%} above it.",
        deep="""The labels are the inputs, shifted by one place; place $t$ sees only what stands before it, so one
forward pass gives as many lessons as there are tokens. Loss in nats, $L = -\\frac{1}{T}\\sum_t \\log p(x_t | x_{<t})$.

- A first loss far above $\\log V$: initialization too large. Clearly below: the labels are not shifted (tied embeddings give
the token just read away). A missing causal mask shows later, as a loss that falls too far.
- The floor is the entropy of the text. For scraped text it is unknown, and fitted as the constant $E$ of a scaling law.
- The loss depends on the tokenizer; bits per byte or per document do not. Perplexity is $e^L$, with the mean taken
over all tokens, not over documents.""",
        topics=("A11", "F3", "A19"),
        followups=(
            "Your loss is 0.02 after a hundred steps. What happened? The answer is in the input: no causal mask, or labels "
            "that are not shifted. Or a handful of texts was learned by heart.",
            "Can you compare the perplexities of two models with different tokenizers? No: they count per token, and the "
            "tokens differ. Turn both into bits per byte of the same text.",
            "Why can a single document cost fewer bits than its generator drew? The bound holds for the mean: a model that "
            "leans towards what happens to come saves bits there, and pays more elsewhere.",
        ),
    ),
    Question(
        question="How do pretraining and fine-tuning differ? What does each put into a model?",
        short="Pretraining reads raw text, much of it, with every token as a lesson, and puts in language, rules and facts. "
        "Fine-tuning uses few examples of one behaviour and mostly changes what the model does with what it knows. My base "
        "model recalls {03.recall:.0%} of its facts and yet follows {03.base_follows:.1%} of instructions.",
        deep="""| | pretraining | fine-tuning |
|---|---|---|
| data | raw text | examples of a task or a behaviour |
| lessons | every token | the answer's tokens |
| amount | trillions of tokens today (here: 25 million) | thousands of examples |
| puts in | language, rules, facts | form, task, manners |
| cost | nearly all of it | a thousandth and less |

Two objectives make text its own teacher. Causal (GPT, Llama): predict the next token. Masked (BERT): predict 15 % hidden
tokens with both sides in view.""",
        topics=("A11", "F3", "K1", "A1"),
        followups=(
            "Where would you put new facts: into pretraining, fine-tuning, or the prompt? What changes often into the prompt "
            "(retrieval), much that lasts into continued pretraining. Fine-tuning learns new facts slowly, and with them to "
            "invent some (arXiv 2405.05904).",
        ),
    ),
    Question(
        question="Why does a pretrained model not answer a question, although it knows the answer?",
        short="Because it has learned to continue text as its corpus would, and there a question was not followed by its "
        "answer. In my run the same model that continued {03.recall:.0%} of the facts followed {03.base_follows:.1%} of "
        "instructions, with or without the chat template.",
        deep="""The loss asks for the likeliest continuation, and nothing in it says *help the reader*. On the web some
questions are followed by answers, so large base models answer now and then, and few-shot prompts make them do it more reliably:
they *show* the form. On my small base, which never read such pages, three written examples brought next to nothing (chapter 05). Instruction tuning teaches the form once and for all. It is cheap because the knowledge is there already
(LIMA, arXiv 2305.11206: a thousand good examples).""",
        topics=("P1", "K1", "K3"),
        followups=(
            "How would you get an answer out of a base model without training? Write a text whose continuation is the answer. "
            "On my base the beginning of the sentence gives nearly all facts. Three questions with answers before mine gave almost "
            "none, because its corpus has no pages of questions and answers (chapter 05). Large models have read many, so there it helps.",
        ),
    ),
    Question(
        question="What do learning-rate warm-up, decay and gradient clipping do? Which would you miss first?",
        short="Warm-up keeps Adam from taking full steps before it knows the size of each gradient; decay lets the run "
        "settle; clipping shortens the rare huge gradient and keeps its direction. Without warm-up and clipping my "
        "short run ended {03.warmup_helps:.2f} nats higher, on average over three starts. The learning rate itself matters more: the smallest "
        "and the largest rate that I tried cost me at least {03.lr_valley:.2f} nats.",
        deep="""- **Rate.** Search in factors of three. The valley is fairly flat for a factor of three to each side. In a short run too *small* a
rate costs as much as too large a one (mine: more); in a long run too large is worse, because it can break the weights for good. The
best rate falls with size: my model of width 16 wanted {03.rate_by_size:.0f} times the rate of the one of width 64.
- **Warm-up.** Adam divides by a running estimate of $\\sqrt{E[g^2]}$, which rests on few batches at first; the first update has about
the full size of the rate in *every* weight. A few hundred to a few thousand steps are usual.
- **Decay** (cosine or linear) to a tenth or to zero.
- **Clipping** by the global norm, usually 1.0: one factor for all tensors, else the direction changes. The norm before
clipping is the best early sign of trouble: log it.""",
        topics=("A12", "F7"),
        followups=(
            "Why clip by the global norm and not each tensor? One factor for all keeps the direction of the step; a factor "
            "for each tensor turns it.",
            "The loss spikes at step 40,000. What do you look at, and what do you do? At the gradient norm just before, and "
            "at the batches. Go back to a checkpoint before the spike and skip them; if it returns, lower the rate.",
            "Why does Adam need warm-up more than SGD? Adam divides by the gradient's estimated size, so its first steps are "
            "full steps however little it has seen; a step of SGD is only as long as the gradient.",
        ),
    ),
    Question(
        question="Causal or masked language modelling: what does each cost, and what is each good for?",
        short="A causal model learns from every token, a masked one only from the 15 % that are hidden: I counted "
        "{03.predictions:.1f} times as many lessons from the same text. In return the masked model sees both sides: the "
        "share of tokens that mine named was higher in a gap than at the end, by {03.masked_sides:.2f} (of 1). At the end of a text, "
        "with twice the reading, its share stayed {03.masked_end:.2f} below the causal one's. So: masked for reading, causal for "
        "writing.",
        deep="""BERT (arXiv 1810.04805) asks for 15 %: 80 % of these masked, 10 % replaced, 10 % kept, so that the model does not rely on a mask
that later texts will not hold. The same transformer does both; only the attention pattern and the labels differ. A masked model
gives no probability of a whole text and cannot write from left to right without help. Causal models have won for generation: all tokens teach,
one pass gives the text's probability, and the keys and values of the past can be kept (KV cache). ELECTRA (arXiv
2003.10555) later gave the two-sided model a lesson at every token.

That masked models are better readers I know from BERT and its followers, not from my run: there even twice
the reading left it below the causal one in the gap, because it had had fewer lessons.""",
        topics=("A11", "F3", "F4"),
        followups=(
            "Why are 10 % of the chosen tokens left as they are? So that the model has to say something of tokens that it sees, "
            "too: later texts hold no masks.",
            "What is a prefix LM? And T5's objective? A prefix LM reads the prompt in both directions and writes the rest "
            "causally. T5 replaces spans of the text by marks, and a decoder writes the missing spans.",
        ),
    ),
    Question(
        question="A model recites a sentence from its training data, but fails to answer a question about the fact in it. Why?",
        short="Because it met the fact in one phrasing and stored the words more than the fact. In my run I asked for newcomers' facts in words "
        "that neither diet had used. The share recalled was {03.paraphrases:.2f} (of 1) higher where they were told in six phrasings and any "
        "order than where one text was repeated: a difference of degree.",
        deep="""Physics of Language Models 3.1 (arXiv 2309.14316): with one phrasing in pretraining a fact is memorised but cannot be extracted, and no amount of
instruction tuning mends that; with paraphrases it becomes extractable, because the model stores it with the *name* instead of
with the words before it. So augment important documents (rewrite, reorder, translate) *before* or in pretraining. Repeating the same file is not the same
thing as telling it again.

My run showed a difference of degree: the newcomers with one text were still recalled in part, because the model had learned from others
how facts hang on names. In the paper, where *all* people have one phrasing, next to nothing can be extracted.""",
        topics=("A11", "A23", "A14"),
        followups=(
            "You must teach a model your company's handbook. What do you do to the text first? Tell each passage in many ways "
            "(reworded, reordered, as questions with answers), name its subject in every version, and keep some wordings for the test.",
        ),
    ),
    Question(
        question="What does a scaling law say, and when does its prediction fail?",
        short="The loss above the entropy of the text falls as a power of the number of parameters, if data do not run short. I "
        "fitted an exponent of {03.scaling_exponent:.2f} on three small models; the fourth had {03.scaling_prediction:.2f} "
        "times the predicted excess. With the same data for all the largest runs short of it first; one run per size scatters too much to tell that from chance.",
        deep="""$L(N, D) = E + A / N^{\\alpha} + B / D^{\\beta}$: $N$ parameters, $D$ tokens, $E$ the entropy of the text (Hoffmann et al., arXiv
2203.15556). The older law of Kaplan et al. (arXiv 2001.08361), $L(N) = (N_c / N)^{\\alpha}$, has no $E$. With compute
$C \\approx 6ND$ fixed there is a best pair: model and data grow together, about twenty tokens for each parameter. Models that will
be served often are trained on far more, since a small model is cheaper at every use.

A fit fails when something else becomes the limit: data, a learning rate that was not tuned for each size, too short a run. And the
law is about the mean loss: single abilities arrive suddenly under a smooth curve (partly because exact match counts nothing until everything is
right: arXiv 2304.15004).""",
        topics=("A12", "A11"),
        followups=(
            "You have ten times the compute. How much larger is the next model? About three times (the root of ten), on three "
            "times the tokens. If it will be served often, rather a smaller one on more tokens.",
            "Why is E hard to know on real text, and what happens to the fit if you guess it wrong? It would be the loss of an "
            "infinitely large model, which nobody can run. Guessed too high it makes the exponent too large, too low too small.",
        ),
    ),
]

QUIZ = [
    QuizItem(
        question="An untrained model has a vocabulary of 32,000 tokens. Its first loss is about",
        choices=("10.4", "0.5", "32,000", "it depends on the text"),
        answer=0,
        why="log 32,000 is 10.4: all tokens are equally likely.",
    ),
    QuizItem(
        question="Two models with different tokenizers are to be compared on one text. Which figure is fair?",
        choices=("loss per token", "perplexity per token", "bits per byte"),
        answer=2,
        why="The bytes are the same for both. A tokenizer with longer tokens has fewer of them, each harder.",
    ),
    QuizItem(
        question="The logits at place t are held against",
        choices=("the token at place t - 1", "the token at place t", "the token at place t + 1"),
        answer=2,
        why="Place t has read the token at t already; copying it would be no lesson.",
    ),
    QuizItem(
        question="Gradients of two tensors have the norms 3 and 4. They are clipped by global norm to 1. The first one's norm is then",
        choices=("1", "0.6", "3 / 7"),
        answer=1,
        why="The common norm is 5, so both are divided by 5. The direction stays.",
    ),
    QuizItem(
        question="A masked language model asks for 15 % of the tokens. Of these it replaces by the mask",
        choices=("80 %", "15 %", "all"),
        answer=0,
        why="10 % become a random token and 10 % stay, because later texts hold no masks.",
    ),
    QuizItem(
        question="A fresh document costs your model fewer bits than the generator drew. Is something wrong?",
        choices=(
            "Yes, that is impossible",
            "Yes, it was in the training data",
            "No, one document may; the average over many cannot",
        ),
        answer=2,
        why="The entropy bounds the mean. A lucky guess may beat it once.",
    ),
    QuizItem(
        question="In L(N) = E + A / N^alpha, what is E?",
        choices=("the error of the fit", "the entropy of the text, which no size removes", "the number of epochs"),
        answer=1,
        why="It is the loss of an infinitely large model; on the Isles it is known exactly.",
    ),
]
