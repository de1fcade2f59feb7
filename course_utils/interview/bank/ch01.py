"""Interview questions and quiz of chapter 01."""

from course_utils.interview.bank import Question, QuizItem

QUESTIONS = [
    Question(
        question="What makes a corpus good, and how much does curation matter?",
        short=(
            "Little of it is said twice, little is not text at all, it covers what the model is for, the test is not in it, and somebody wrote down what was done. In my run the "
            "curated half of a dirty corpus beat the whole by {01.curation_pays:.2f} nats per token on clean text, at the same number of training tokens."
        ),
        deep=(
            "Faults, from cheap to dear to find: exact copies (hash), lines that all pages share (counting), garbled and looped pages (signals of one document), other languages (character n-grams), text in no order or unlike a "
            "reference (a small language model), near copies (MinHash), test data. Do them in the order of cost. Compare corpora at equal *tokens*, on text that none of them was made from: training losses cannot be "
            "compared, because each run has its own text. Less is often more, because repeating good text a few times is nearly free (Muennighoff et al., arXiv 2305.16264). Quality has no meaning without a purpose: pages in another language were bad for my model "
            "and would be the treasure of a translator."
        ),
        topics=("A23", "F6"),
        followups=(
            "How would you choose between two filters? Train a small model on each output, at equal tokens, and compare on the tasks that count.",
            "When is more raw text better? When the curated set would be read so often that it is learned by heart.",
        ),
    ),
    Question(
        question="How do you find near-duplicates among a billion documents?",
        short=(
            "Shingles, MinHash, bands, verification. A signature of 128 numbers estimates the Jaccard similarity; documents that agree in all numbers of some band are compared; groups keep one. I found {01.near_recall:.0%} of the planted near copies. "
            "{01.near_precision:.0%} of what I dropped was planted, but only because the originals came first; if any member of a group may stay it is {01.any_stays:.0%}. So judge the groups: {01.groups_joined:.0%} of the copies shared one with their original."
        ),
        deep=(
            "Shingles are runs of n words as a set; J = |A and B| / |A or B|. Under a random order the two sets have the same first element with probability J, so K random hash functions give an estimate with standard error sqrt(J(1-J)/K); measured over many pairs, mine and "
            "that of datasketch spread just about as far. With B bands of R rows two documents meet with probability 1 - (1 - s^R)^B: choose B and R so that the steep part lies a little below the threshold, and verify "
            "exactly. Then connected components, one of each stays. Short n forgives too much, long n too little; short documents need a lower threshold. Besides documents there are repeated *substrings*, found with a suffix array (Lee et al., arXiv 2107.06499)."
        ),
        topics=("A23", "F6"),
        followups=(
            "Why does the minimum of a hash agree with probability J? The first element of the union is equally likely to be any of it, and it decides.",
            "What goes wrong with connected components? Chains: A is like B, B like C, but A not like C.",
        ),
    ),
    Question(
        question="You are given a quality filter with 97 % retention. What do you check before you use it?",
        short=(
            "What the other 3 % are. A published rule for prose kept over nine tenths of my good documents, and {01.prose_rule:.0%} of the pages with sums: a whole skill would have gone, and the mean did not show it."
        ),
        deep=(
            "Count what goes by kind, source, language, dialect, length; read fifty removed and fifty kept documents; plant faults and measure precision and recall. Filters by a language model's loss punish whatever is unlike its sample: taking as many documents by each, {01.loss_misses:.2f} more of them were shuffled pages by a score that compares each text with its own shuffled words, because lists of names and translations are rare, not bad. Dodge et al. (arXiv 2104.08758) show that the word list of C4 removed text about "
            "minorities at a higher rate. So filters are also a source of bias, before any model is trained."
        ),
        topics=("A23", "F6"),
        followups=(
            "How would you set the threshold? By what a wrong removal costs against a wrong keep, on labelled documents.",
        ),
    ),
    Question(
        question="Several annotators label your data. How do you know that the labels are good?",
        short=(
            "By agreement beyond chance: Cohen's kappa for two, Krippendorff's alpha for many and with gaps. Taking out one careless annotator raised my alpha by {01.careless:.2f}; a vote of the four others was right more often than they were on average, by "
            "{01.majority:.2f}."
        ),
        deep=(
            "Kappa = (p_o - p_e) / (1 - p_e), observed and chance agreement; alpha = 1 - observed / expected disagreement; 0.8 is the usual demand, 0.67 the least for tentative conclusions (Krippendorff). It accepts missing labels: without 30 % of them mine moved by {01.alpha_holes:.2f}. Raw agreement misleads when one label is frequent. Look at the matrix of kappas: one dark row is a "
            "person, an overall low is the guideline. Then: mend the guideline with the cases on which people differ, train on examples, put in control items with known answers, let several label and vote or fit each one's error rates (Dawid and Skene 1979). Real disagreement is information: "
            "keep the single labels."
        ),
        topics=("A23",),
        followups=(
            "Can annotators agree and be wrong? Yes, if they share a mistake; agreement measures reliability, not truth.",
        ),
    ),
    Question(
        question="How do you keep the test out of the training data?",
        short=(
            "Split by entity before anything else, and search for what the test is about. {01.ngrams_blind:.0%} of my test questions shared a run of eight words with the corpus, while for {01.people_leaked:.0%} person and answer stood in one document, in other words."
        ),
        deep=(
            "Three levels: copies of the test (hash, 13-grams as for GPT-3, arXiv 2005.14165), the same content in other words (names, dates, embeddings, translation), and the same source (split by person, site, time). Remove from the training side, then check the other way round: a model that saw the test has a gap between leaked and "
            "fresh questions (chapter 15). Shorter runs are no way out: with four words {01.ngrams_false:.0%} of questions about people of whom nobody wrote rang as well. Write into the card what was searched, and how. It costs good documents that mention a test entity in passing."
        ),
        topics=("A23", "F6"),
        followups=(
            "And if the training data are not yours? Then only the model can tell: Min-K% Prob, or fresh questions (chapter 15).",
        ),
    ),
    Question(
        question="Explain BPE. How large should a vocabulary be, and how do you compare models with different tokenizers?",
        short=(
            "Start from bytes (at first: characters), join the most frequent pair of neighbours, repeat. A larger vocabulary makes texts shorter, {01.shorter:.1f} times in my range, and each token harder. So compare bits per byte, not loss per token: with token frequencies alone the loss rose by {01.per_token_misleads:.2f} "
            "nats per token while the text took {01.bits_fall:.2f} bits per byte less."
        ),
        deep=(
            "Text is cut into words first, merges stay inside; ties need a rule (the library's: the older tokens); byte level means that nothing is unknown and everything comes back. {01.same_merges:.0%} of my merges were those of `tokenizers`. Vocabulary costs parameters, V times d in embedding and output, and rare tokens are badly trained; "
            "small models take 32,000, recent multilingual ones 128,000 to 256,000. Digits should be cut in a regular way: plain BPE cut the years of one century in {01.digit_cuts:.0f} ways. Unseen names took {01.unseen_names:.1f} times the tokens. Bits per byte = loss / log 2 x tokens / bytes."
        ),
        topics=("A23", "F6"),
        followups=(
            "Train the tokenizer before or after curation? After: else it spends its vocabulary on spam, and tokens that never occur again keep random embeddings.",
            "Unigram or BPE? Unigram starts large and prunes by likelihood; differences are small in practice.",
        ),
    ),
    Question(
        question="A model for your domain is slow, learns poorly and runs out of context. The loss curve looks normal. What do you look at?",
        short=(
            "Fertility: tokens per word on my text. A tokenizer from elsewhere took {01.fertility:.1f} times as many tokens here, raised no error, and after the same text the model needed {01.wrong_tokenizer:.1f} times the bits per byte."
        ),
        deep=(
            "Everything is counted in tokens: context, speed, price, the number of steps over which a word must be put together. Count fertility by language, for digits, names and domain terms. Remedies: another base model; adding tokens (initialise their embeddings with the mean of their pieces, then train on); or "
            "a new tokenizer, which means pretraining again. And count padding: batches padded to their longest row wasted {01.padding_waste:.0%}, whole documents packed by best fit {01.packing_waste:.1%}."
        ),
        topics=("F6",),
        followups=(
            "Why does fertility differ between languages? The vocabulary was learned from text that is mostly English.",
        ),
    ),
]
QUIZ = [
    QuizItem(
        question="Two MinHash signatures of 100 numbers agree in 60 places. What do you know?",
        choices=(
            "60 % of the words are equal",
            "The Jaccard similarity is about 0.6, give or take 0.05",
            "The texts share 60 shingles",
            "Nothing, signatures must be equal",
        ),
        answer=1,
        why="Each place agrees with probability J; the standard error is sqrt(0.6 * 0.4 / 100), about 0.05.",
    ),
    QuizItem(
        question="More rows R in each band, and fewer bands. What happens to the pairs that are compared?",
        choices=(
            "More, and less alike",
            "Fewer, only those very much alike",
            "The same ones, faster",
            "Exactly those above the threshold",
        ),
        answer=1,
        why="All R numbers of a band must agree, s to the power of R; with fewer bands there are fewer chances. The curve moves to the right.",
    ),
    QuizItem(
        question="Model A has a loss of 2.1 per token with 32,000 tokens, model B 2.4 with 128,000. Which is better?",
        choices=("A", "B", "Not to be told from these figures", "Both are equal after division by log V"),
        answer=2,
        why="B's tokens may be fewer. Multiply by tokens per byte first: bits per byte.",
    ),
    QuizItem(
        question="BPE: words aaaa (3 times) and ab (5 times). Which pair is joined first?",
        choices=("a b, 5 times", "a a, 9 times", "a a, 6 times", "a a, 3 times"),
        answer=1,
        why="There are three neighbouring pairs in aaaa, each counts three times: 9. They overlap, so the merge itself makes aa aa.",
    ),
    QuizItem(
        question="Search for near-duplicates and filter by quality: which first, if quality is cheap?",
        choices=(
            "The search: it is more important",
            "Filter: what is gone need not be compared",
            "It never matters",
            "Both at once",
        ),
        answer=1,
        why="Cheap steps first. Broken pages also look alike and would blur the search for near copies.",
    ),
]
