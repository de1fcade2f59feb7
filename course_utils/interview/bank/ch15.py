"""Interview questions and quiz of chapter 15."""

from course_utils.interview.bank import Question, QuizItem

QUESTIONS = [
    Question(
        question="What is perplexity, and when may you compare it between two models?",
        short=(
            "The exponential of the mean loss per token: among how many equally likely tokens the model hesitates. Comparable only for the same text and the same "
            "tokenizer; otherwise use bits per byte. And it measures text, not help: my instruct model needed {15.tuned_is_surprised:.1f} times the bits for plain "
            "text than the base it came from (a million parameters forget quickly; on a large model the rise is far smaller)."
        ),
        deep=(
            "exp(-1/T sum log p(x_t | x_<t)), T the predicted tokens, padding and the begin token left out, averaged over all tokens and not over rows. A larger vocabulary makes fewer and harder tokens; "
            "bits per byte, total bits over bytes, does not care. It depends on the context that a token gets: with windows over long texts, tokens at the start of "
            "a window have little. Where the generator is known, as here, its entropy is the floor. Use it to compare data mixes, steps, sizes of one family, or for "
            "contamination; not for assistants, since tuning moves probability away from plain text on purpose."
        ),
        topics=("A19", "L4"),
        followups=(
            "Perplexity 12 with 32,000 tokens against 15 with 128,000: which model is better? Nobody can tell; ask for bits per byte.",
        ),
    ),
    Question(
        question="BLEU, ROUGE, exact match: what does each count, and what does it miss?",
        short=(
            "Exact match: equal strings after normalisation. BLEU: clipped n-gram precision with a penalty for brevity. ROUGE: overlap seen from the reference. All count words, not truth: false "
            "answers in the reference's words got {15.overlap_misled:.2f} more ROUGE-L than true ones in other words, and once the model had become courteous, exact match rejected answers that were "
            "correct: {15.exact_misses_manner:.0%} of all that it gave."
        ),
        deep=(
            "BLEU belongs to a corpus: counts are summed, then divided; a mean of sentence scores is another number. Its value depends on tokenization and smoothing, so report sacrebleu's signature. ROUGE-L "
            "takes the longest common subsequence, ROUGE-N n-grams; F1 unless said otherwise. Both correlate with people on average over systems that are alike, and fail between systems that are not, or for a "
            "single text. Exact match is hard to argue with and right for short answers; watch normalisation, and look at what it rejects. My versions equal sacrebleu and "
            "rouge-score to rounding."
        ),
        topics=("A19", "L4"),
        followups=("Why is the precision clipped? Else 'the the the the' is perfect.",),
    ),
    Question(
        question="How do you measure whether generated text is factually right?",
        short=(
            "Cut it into single statements and check each against a source: the supported share is the factual precision. My base model had {15.truth_known:.0%} about people of "
            "its corpus and {15.truth_strangers:.0%} about strangers, in equally fluent text. With a source in the prompt, ask whether the answer is stated there."
        ),
        deep=(
            "FActScore (arXiv 2305.14251) does so for biographies with a model that splits and one that checks against an encyclopedia; entailment models check answer against passage for "
            "summaries and retrieval. Precision alone rewards silence: report how much was said, or recall of what should have been said, and abstention apart. Check the checker on statements that you know. Benchmarks: FEVER "
            "(claims with evidence), TruthfulQA (questions that invite a common error)."
        ),
        topics=("A19", "A21", "A14"),
        followups=(
            "Why not ask the model itself? It is sure of what it invents; its agreement with itself over samples is a better sign.",
        ),
    ),
    Question(
        question="Can a model be the judge? What do you check first?",
        short=(
            "For manner often, for truth only if it can see it. Mine preferred courteous to rude in {15.judge_manner:.0%} of cases, true to false in {15.judge_truth:.0%}, and a "
            "plain truth to a courteous untruth in {15.judge_charmed:.0%}. So I check a judge on pairs of which I know the answer, one quality at a time."
        ),
        deep=(
            "Known tastes (Zheng et al., arXiv 2306.05685): the first place, length, its own style. Ask both orders and count only agreements; balance or regress out length; give a reference or the source; "
            "ask for reasons first; use several judges of other families. Report agreement with people as kappa, beside that of people with each other: that is the ceiling. A judge that was trained as the reward "
            "model must not be the exam: the policy was trained to please it."
        ),
        topics=("A19", "A20", "L4"),
        followups=(
            "Your judge agrees with people in 80 %. Good? Ask for kappa, and for the agreement among people.",
            "The win rate was right though the judge is blind to truth. Why? In those duels manner decided.",
        ),
    ),
    Question(
        question="Your model scores 0.87 on 200 questions, the old one 0.84. Ship it?",
        short=(
            "Not on that alone: the standard error of 0.87 on 200 is 0.024, and that of the difference of two separate samples 0.035, more than the gain. If both answered the same questions I take the differences and bootstrap them; my paired interval was "
            "{15.paired:.0%} as wide as with two separate samples."
        ),
        deep=(
            "Percentile bootstrap: resample questions, recompute, take quantiles; {15.coverage:.0%} of my 95 % intervals held the truth at 60 questions. The width falls with the root of the number of questions: half the width, "
            "four times the questions. Questions about one passage or one person are not independent: resample the groups. Many comparisons need a correction. The interval speaks of other questions; for "
            "other training runs, repeat with seeds. And look at what changed: a mean can hide a class that broke."
        ),
        topics=("A19", "L4"),
        followups=("Why not a t-test? For a mean it is fine too; the bootstrap also takes BLEU, medians, ratios.",),
    ),
    Question(
        question="How would you find out that a model has seen the test?",
        short=(
            "With the data: look for shared runs of words, 8 or 13 long. Without: questions written after the cut-off, or scores such as Min-K% Prob; on my leaky model its AUC was {15.min_k:.2f}, on an honest one {15.min_k_honest:.2f}. The leak was "
            "worth {15.leak:.2f} of exact match."
        ),
        deep=(
            "Overlap misses paraphrases and translations. Membership scores are weak for large corpora seen once, and confuse easy with seen: so a control is needed, a model that surely did not see it, or reworded questions. A fall from the "
            "public to a private or rewritten test of equal difficulty is the best evidence. Before training: keep tests out by hash and n-gram, put canary strings into them, and write down what was removed."
        ),
        topics=("A19", "A23"),
        followups=(
            "A score drops by 0.2 when options are shuffled. What is likely? It knew the letter, not the answer.",
        ),
    ),
    Question(
        question="You cannot reproduce a published score with the same weights. Where do you look?",
        short=(
            "At the harness: chat template, end of turn, length limit, decoding, normalisation, shots, version of the test. On one model and the same questions such settings moved exact match by {15.harness:.2f}."
        ),
        deep=(
            "Then precision and batch effects (small), the tokenizer's handling of spaces at the end of a prompt (large for multiple choice by likelihood), per-token or per-byte normalised likelihoods, which split, and whether failures to "
            "parse count as wrong. Publish the prompts and the raw outputs. When comparing models run all of them through one harness."
        ),
        topics=("A19", "L4"),
        followups=("Which of them do not raise an error? None does. Read raw outputs before you read a score.",),
    ),
]

QUIZ = [
    QuizItem(
        question="Two models with other tokenizers read the same text. Which figure may be compared?",
        choices=("Perplexity per token", "Loss per token", "Bits per byte", "Accuracy of the next token"),
        answer=2,
        why="Bytes are the same for both; tokens are not.",
    ),
    QuizItem(
        question="What does 'the the the the' get from BLEU's unigram precision, against 'the cat is on the mat'?",
        choices=("4/4", "2/4", "1/4", "0"),
        answer=1,
        why="The reference has 'the' twice, so two of the four count.",
    ),
    QuizItem(
        question="You want an interval half as wide. How many questions do you need?",
        choices=("Twice as many", "Four times as many", "The square root", "It depends on the model"),
        answer=1,
        why="The width falls with the square root of the number.",
    ),
    QuizItem(
        question="A paired interval for the difference of two models is narrower because",
        choices=(
            "it uses more questions",
            "what makes a question hard for both cancels out",
            "it takes a smaller confidence",
            "the models are alike",
        ),
        answer=1,
        why="The difference is taken question by question.",
    ),
    QuizItem(
        question="Min-K% Prob separates the leaked half of the test from the fresh half with AUC 0.9. What else must you see?",
        choices=(
            "The same AUC on a model that saw neither: near 0.5",
            "A higher accuracy",
            "A lower perplexity on both",
            "Nothing",
        ),
        answer=0,
        why="Else the halves may differ for another reason.",
    ),
]
