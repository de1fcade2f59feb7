"""Interview questions and quiz of chapter 11."""

from course_utils.interview.bank import Question, QuizItem

QUESTIONS = [
    Question(
        question="How does human preference become a reward? Walk me through it.",
        short=(
            "People compare answers to the same prompt. A language model with one output is trained so that the preferred answer scores "
            "higher: loss -log sigmoid(r_chosen - r_rejected). The score of a new answer is then the reward. Mine came from a "
            "simulated rater who errs in one case of ten, and ranked {11.accuracy:.1%} of clean pairs right, about people who were "
            "in none of the comparisons."
        ),
        deep=(
            "The loss is the likelihood of Bradley and Terry (1952): P(a over b) = sigmoid(s_a - s_b). The body starts from the instruct model, "
            "so that it reads what the policy writes; the head reads the last token's state, as only that one has seen the whole answer. "
            "At the start the loss is log 2 = 0.693, and on fresh pairs it cannot fall below the entropy of the raters' noise: 0.325 nats at "
            "one error in ten. Only differences of scores mean something, so scores are often shifted to mean 0 before they are used. "
            "One ranking of K answers gives K(K-1)/2 pairs; InstructGPT (arXiv 2203.02155) put all pairs of one prompt into one "
            "batch, because they are not independent. Then evaluate on prompts that nobody compared, and by kind of difference, not in one number."
        ),
        topics=("P3", "A7", "A8", "A20"),
        followups=(
            "Why start from the instruct model and not from the base? It must understand the format; and its states already tell answers apart.",
            "What loss do you expect in step 1? 0.69. Much more means that the head starts too large.",
        ),
    ),
    Question(
        question="Why do raters compare two answers, instead of giving each a mark from 1 to 10?",
        short=(
            "Because marks have no common scale: raters differ from each other and from themselves a week later. A comparison asks for less "
            "and cancels what is the same on both sides. From 540 noisy duels with one error in four I got the manners of answering in the right "
            "order, with a gap of {11.fitted_order:.2f} between the worst good and the best bad one."
        ),
        deep=(
            "A comparison tells one bit at most, so many are needed; but they can be spread over many prompts and raters. The fit gives one "
            "scale for things that were never compared with each other, as long as they are connected by others. Its limits: it assumes one "
            "taste (a mixture of raters with opposite tastes looks like noise), no cycles (a over b over c over a), and an error rate that "
            "falls with the distance. My raters erred as often in clear cases as in close ones, so the order was right and the distances were not. "
            "Marks are still useful for filtering (is this acceptable at all?), and several systems collect both (Llama 2, arXiv 2307.09288: "
            "a choice, and how much better)."
        ),
        topics=("P3", "A7", "A8"),
        followups=(
            "What if one model never loses? Its score would be infinite; add half a win to every pair, or a prior.",
        ),
    ),
    Question(
        question="Your two annotators agree in 85 % of the cases. Is that good?",
        short=(
            "It depends on what chance would bring. Cohen's kappa is (p_o - p_e) / (1 - p_e): with two equally frequent labels 85 % is a "
            "kappa of 0.7, with one label in nine of ten cases it is about 0.17. In my run a careful and a hurried rater differed in kappa by "
            "{11.noise_in_kappa:.2f}."
        ),
        deep=(
            "With evenly used labels: if each rater is right with the probability 1 - p, kappa with the truth is about 1 - 2p, and between two raters (1 - 2p)(1 - 2q): so "
            "raters agree less with each other than with the truth. A vote repairs independent errors: seven raters of noise 0.25 gained "
            "{11.vote:.2f} over one. It does not repair a shared taste, and kappa does not show it; for that you need an outside measure. "
            "More than two raters, or gaps: Krippendorff's alpha. Ordered labels: a weighted kappa. Low agreement is first of all a "
            "question to the guideline, not to the people."
        ),
        topics=("A7", "A23"),
        followups=(
            "Would you drop the items on which raters disagree? Then the model never sees a close case. Keep them, with soft labels.",
        ),
    ),
    Question(
        question="How do reward models go wrong, and how would you notice?",
        short=(
            "They learn what is easy to see in what raters chose. Mine saw manners ({11.manner:.0%} of pairs) and harm ({11.harm:.0%}), and of truth "
            "nothing: {11.truth:.0%}, a coin. A taste of the raters for length, which turned fewer than one choice in ten, put padded answers above courteous ones in "
            "{11.length_taste:.2f} (of 1) more of the cases. And it put 'I do not know' above the truth in {11.abstains:.0%}, for no pair had set the two against each other. "
            "One accuracy hides all three: split it by what differs in the pair."
        ),
        deep=(
            "Three sources. Raters reward what they cannot check, if it is well said: honesty needs raters with sources. Tastes for length, "
            "flattery, lists: plot the score against each; balance pairs, or fit the length difference as a term of its own and drop it "
            "(length-controlled AlpacaEval, arXiv 2404.04475). And gaps: where no pair, not even by way of others, said anything, the score is "
            "extrapolated; an ensemble shows it as spread, and an optimizer will find it (Gao et al., arXiv 2210.10760; chapter 12). Noise at random "
            "is the smallest of these evils: three wrong choices in ten cost {11.noise_costs:.2f} of accuracy, and the model still ended above its teacher."
        ),
        topics=("P3", "A7", "A8", "A14"),
        followups=(
            "How would you make it see truth? Give it evidence in the input, or a separate checker; compare chapter 16.",
            "Is accuracy on pairs what counts? Not alone: the policy will write answers that no pair resembles.",
        ),
    ),
    Question(
        question="A reward model gives other scores in production than in your notebook, for the same text. What do you look for?",
        short=(
            "Where the score is read. If it is the last place of the row, and rows are padded, the score comes from padding and depends on the "
            "neighbours in the batch: reading at place -1 moved scores by {11.padding:.2f} on average here; read at the last token they "
            "stayed. The test: one text alone and in a batch must agree."
        ),
        deep=(
            "Other causes of the same sign: the chat template or the end token is missing in one of the two places; truncation cut the answer's "
            "end, where the score is read; the padding token equals the end token, so that a search for the last token that is no padding stops "
            "one early; positions that count the padding on the left; dropout left on; another precision. And scores may be shifted or "
            "whitened in one place: only differences are learned."
        ),
        topics=("P3", "A8"),
        followups=(
            "Which test finds which? Alone against batch finds what padding does; a stored text with its stored score finds the rest, the shift too.",
        ),
    ),
]

QUIZ = [
    QuizItem(
        question="What is the loss of a reward model before its first step, with a head near zero?",
        choices=("0", "log 2, about 0.69", "1", "the logarithm of the vocabulary's size"),
        answer=1,
        why="Both scores are nearly equal, so either answer has the probability one half.",
    ),
    QuizItem(
        question="You add 7 to all scores of a reward model. What changes in its loss?",
        choices=("Nothing", "It rises by 7", "It falls", "It is no longer finite"),
        answer=0,
        why="The loss sees differences alone.",
    ),
    QuizItem(
        question="Seven raters share a taste for long answers. What does their majority vote do to it?",
        choices=("It removes it", "It makes it weaker", "It keeps it", "It turns it round"),
        answer=2,
        why="A vote cancels what differs between raters. What they share, it keeps.",
    ),
    QuizItem(
        question="A ranking of five answers gives how many comparisons?",
        choices=("4", "5", "10", "20"),
        answer=2,
        why="5 x 4 / 2 = 10 pairs, of which each says who stands above whom.",
    ),
    QuizItem(
        question="A reward model ranks 88 % of held-out pairs right. Which question comes first?",
        choices=(
            "Can we train it longer?",
            "Which kinds of pairs are the other 12 %?",
            "Is the learning rate too high?",
            "How large is the vocabulary?",
        ),
        answer=1,
        why="Ours was near perfect on manners and a coin on truth: the mean depends on how often each kind occurs.",
    ),
]
