"""Interview questions and quiz of chapter 02."""

from course_utils.interview.bank import Question, QuizItem

QUESTIONS = [
    Question(
        question="Explain the architecture of a LLaMA-like model, from the ids to the scores.",
        short=(
            "An embedding table turns ids into vectors, one for each place. Each block adds twice to that stream: causal attention on the normalized "
            "stream brings in what stands earlier, a gated feed-forward network works on each place alone. A last RMSNorm, then scalar products with a vector for "
            "each token give the scores. I wrote it piece by piece; the scores agree with transformers' to {02.model:.0e} of the largest one."
        ),
        deep=(
            "Against the transformer of 2017: decoder only; norm *before* each part (the stream itself is never normalized, so gradients pass); RMSNorm for LayerNorm; rotary positions "
            "inside of attention for added ones; SwiGLU for ReLU; no biases; grouped keys and values. Small models tie the head to the embedding, large ones do not. "
            "Shapes to say aloud: q (batch, heads, length, head_dim), k and v with fewer heads, scores (batch, heads, length, length). "
            "What a part is worth depends on the setting; in mine, after equal steps, leaving out the feed-forward network added {02.no_mlp:.2f} nats, attention "
            "{02.no_attention:.2f}, positions {02.no_positions:.2f}, the norms {02.no_norm:.2f}."
        ),
        topics=("A26", "A12"),
        followups=(
            "Why is the norm before the part? The stream then has a straight path through all layers, and deep models train without tricks.",
            "What would you change for 100 layers? Scale the output matrices at the start by 1 / sqrt(2 layers), as GPT-2 did.",
        ),
    ),
    Question(
        question="Write causal attention, then make it grouped-query. What is saved? How do you test the mask?",
        short=(
            "softmax(q k^T / sqrt(head_dim)) v, with -inf written over the scores of later keys before the softmax. Without the division the scores' spread "
            "grows with head_dim and the softmax saturates. Grouped: several query heads share one head of keys and values, so the cache shrinks by that factor, for Llama 3 8B at 8,192 tokens from 4 GiB to 1. "
            "The test: exchanging a later token must not move an earlier output. Mine moved by {02.mask_test:.1g}."
        ),
        deep=(
            "A scalar product of head_dim independent numbers of variance 1 has the variance head_dim, so dividing by the root brings it back to 1. Mask the scores, not the weights: weights zeroed "
            "after the softmax no longer add up to 1 and their normalization has seen the future. Zero is no mask, since exp(0) = 1. I trained once without the mask: the loss fell to "
            "{02.leak:.1%} of the right model's, on fresh text too, and what it wrote was rubbish; judged without looking ahead its loss was {02.leak_true:.1f} nats above the right "
            "model's. A held-out set does not catch that; the influence test and the entropy floor do. In practice a fused kernel (FlashAttention, arXiv 2205.14135) "
            "computes the same without writing the length x length matrix.\n\n"
            "Grouping: writing a token is bound by memory, all weights and the whole cache are read for it, so a smaller cache means more conversations at once and faster steps; the arithmetic of the scores stays. "
            "Multi-query (arXiv 1911.02150) has one head; grouped-query (arXiv 2305.13245) sits between and can be made from a trained model by averaging heads and a little more training. One head for four cost my small "
            "model {02.one_kv:.2f} nats at equal steps, in a single run. DeepSeek-V2's latent attention (arXiv 2405.04434) stores a compressed vector instead."
        ),
        topics=("A26", "F7"),
        followups=(
            "And with padding? Padded keys are hidden too; a row of the softmax with no visible key would be NaN.",
            "What does FlashAttention save? Memory traffic, not operations: the matrix never leaves the chip's fast memory.",
            "Which heads share? Neighbouring ones: repeat_interleave, not repeat. The bug runs without complaint.",
        ),
    ),
    Question(
        question="How does the model know the order of the words? Explain rotary positions.",
        short=(
            "Pairs of numbers of each query and key are turned by an angle that is proportional to the place, each pair with its own speed. The scalar product then depends on the distance only: moving both "
            "changed it by {02.rope_relative:.0e} in my measurement. Without positions the loss was {02.no_positions:.2f} nats higher."
        ),
        deep=(
            "Frequencies theta^(-2i/d): fast pairs tell neighbours apart, slow ones carry long distances. It is applied to q and k in every layer, not to v, and has no parameters. Llama pairs i with i + d/2, the paper "
            "neighbours; mixing the two conventions gives a model that loads and talks nonsense. Beyond the trained length the slow pairs reach angles never seen: position interpolation (arXiv 2306.15595), a larger "
            "theta (Llama 3 has 500,000), or YaRN (arXiv 2309.00071) stretch it. A causal model without any positions still gets some order from the mask itself (arXiv 2203.16634)."
        ),
        topics=("A26",),
        followups=(
            "What do BERT and GPT-2 have? A learned vector for each place, added once at the input; it cannot go beyond its table.",
        ),
    ),
    Question(
        question="Why RMSNorm, why SwiGLU, and why the norm before each part?",
        short=(
            "The stream grows with every block, so each part reads it at a standard size; RMSNorm does that without mean and shift, as well as LayerNorm and cheaper. SwiGLU lets one product open or close the numbers of another. "
            "Before the part, so that the stream itself has a straight path. Without norms my loss was {02.no_norm:.2f} nats higher at the same settings, without the feed-forward network {02.no_mlp:.2f}."
        ),
        deep=(
            "RMSNorm (arXiv 1910.07467): dividing by the root mean square keeps the invariance to scale, and the models of the paper were no worse without centring. SwiGLU (arXiv 2002.05202): at equal size, with 2/3 of the inner width for three matrices in place of two, Shazeer measured lower "
            'perplexity than with ReLU or GELU, and gave no reason but "divine benevolence": an empirical choice. Before the part (pre-norm): the gradient reaches the first layer through the sum alone; with the norm after the sum, as in 2017, deep models need a careful warm-up (arXiv 2002.04745). '
            "My figures are single small runs at equal steps, and the model without the network is also a smaller one."
        ),
        topics=("A26",),
        followups=(
            "Why 352 for a width of 128? 2/3 * 4 * 128 = 341, rounded up to a multiple of 32.",
            "What does pre-norm cost? The stream grows with depth, so late blocks change it less and less.",
        ),
    ),
    Question(
        question="Encoder, decoder, encoder-decoder: what differs, and which would you take for what?",
        short=(
            "Who may look at whom. I exchanged one token at a time in small models: in BERT all outputs moved, in Llama none before the token, in T5 the encoder's outputs all moved with any input token; the decoder's with any input token and with its own "
            "earlier ones. Encoders for labels, search and vectors; decoders for writing and for many tasks in one; encoder-decoders for a text from a text."
        ),
        deep=(
            "Training: BERT fills about 15 % hidden tokens, so fewer lessons from each text, but both sides in view; decoders learn from every token; T5 writes spans that were cut from the input. Cost: an "
            "encoder gives a vector in one pass and at 100-400 M parameters is cheap to run by the million; a decoder writes a token a pass, with a cache. Popular: BERT, RoBERTa, DeBERTa, ModernBERT for reading; GPT, LLaMA, Mistral, Qwen for writing; "
            "T5, BART, Whisper for text or speech to text. Decoders won as general tools because one objective, next token, covers every task that can be written down, and few-shot prompting needs no new head. "
            "For embeddings many now take a decoder and tune it contrastively."
        ),
        topics=("F4", "A26", "A11"),
        followups=(
            "A classifier for 10 million e-mails a day? A tuned encoder: far cheaper for each text, and on one fixed task usually as good.",
            "Can a decoder classify? Yes, through the state of the last token, or by the likelihood of label words.",
        ),
    ),
    Question(
        question="How many parameters has a Llama-like model, and how much arithmetic is a token?",
        short=(
            "Per layer 2 h^2 + 2 h kv + 3 h m + 2 h, with h the hidden size, kv the width of keys and m the inner width; plus the table V h, twice if untied, plus h. For Llama 3 8B: 8.03 billion. A token costs about 2 N operations "
            "forward and 6 N in training; on top 4 L h for each key. What transformers executes, over my formula: {02.flops:.3f}."
        ),
        deep=(
            "The feed-forward networks hold most of it (70 % in Llama 3 8B, untied tables 13 %). 6 N per token: the backward pass has two products for each of the forward pass, one for the inputs, one for the weights. Attention's 4 L h T equals 2 N at "
            "T = N / (2 L h), some 30,000 tokens for an 8 B model; below that, length hardly matters for arithmetic, and it matters for the cache long before. Embedding look-ups cost nothing, the head does. "
            "Training memory is another sum: 16 bytes for each parameter with Adam in mixed precision (chapter 04)."
        ),
        topics=("A12", "A26"),
        followups=(
            "Training time of 8 B on 15 T tokens? 6 x 8e9 x 15e12 = 7.2e23 operations; 8,000 GPUs that reach 4e14 a second each need about 2.6 days.",
        ),
    ),
    Question(
        question="What is sparse or sliding-window attention? What does it cost, and what is lost?",
        short=(
            "Each place sees the last w places. Work grows with length times w, not length squared; in blocks mine was {02.window_time:.0f} times as fast at the longest row. As a mask alone it saves nothing ({02.mask_time:.1f} times the time of full attention). Lost is what stands far back: a window of "
            "16 cost {02.window_loss:.2f} nats more on texts that repeat their beginning than on mixed ones."
        ),
        deep=(
            "Through L layers a token still reaches L (w - 1) places; I measured that to be exact, by exchanging tokens. The cache is bounded too: w entries for each layer. At 131,072 tokens a window of 4,096 takes an 8 B model's arithmetic "
            "down by a factor of {02.window_flops:.1f}, all pairs counted, hidden ones too; with a kernel that skips them, {02.window_visible:.1f}. Kinds: window (Mistral 7B, arXiv 2310.06825), window and some global tokens (Longformer, arXiv 2004.05150), window, global and random (BigBird, arXiv 2007.14062), "
            "learned choice of blocks. Common now: most layers with a window, every few layers full (Gemma 3, arXiv 2503.19786)."
        ),
        topics=("A26",),
        followups=(
            "Why does the first token get so much attention in long texts? It serves as a sink for weight that must go somewhere; windows that drop it break the model (arXiv 2309.17453).",
        ),
    ),
    Question(
        question="You see in an attention map that a head looks at the right word. Does it do the work?",
        short=(
            "Not proven. One head of mine puts {02.finder:.0%} of its weight on the word to be copied; removing another head hurt far more: it cost {02.knock_out:.2f} of the answers, "
            "{02.looks_elsewhere:.2f} more than removing the one that looks."
        ),
        deep=(
            "Maps show where values are taken from, not what they do; several heads may lead to the same answer, so that one can be spared (all that look there, removed together, cost {02.helpers:.2f} more of the answers than the sum of their single losses); and an early head can be needed to set up what a later one does. Test by removal, or by putting in the activation of another text. "
            "Controls matter as much: when I exchanged the thing in the question, the finder went with it (weight {02.finder_follows:.2f} on the new place), another looker only takes the newest move (weight {02.takes_newest:.3f} when something else moved since). Heads of mine looked from a repeated first name to the surname with weight {02.same_name:.2f}, just like induction heads (arXiv 2209.11895); with another first name "
            'before it, it was {02.not_induction:.0%} of that, so they look for a surname, not for that name\'s. On maps as explanations: "Attention is not Explanation" (arXiv 1902.10186) and the answer to it (arXiv 1908.04626).'
        ),
        topics=("A26",),
        followups=(
            "What is the flaw of removal by zero? Zero may be unusual for the next layer; the mean over texts is the gentler replacement.",
        ),
    ),
]

QUIZ = [
    QuizItem(
        question="Which of these has no parameters?",
        choices=("RMSNorm", "rotary positions", "the output matrix of attention"),
        answer=1,
        why="The angles are fixed by place and pair. RMSNorm has one scale per number.",
    ),
    QuizItem(
        question="8 query heads, 2 key/value heads. Which key/value head does query head 3 (from 0) use?",
        choices=("0", "1", "3 modulo 2, so 1"),
        answer=0,
        why="Neighbours share: query heads 0 to 3 use head 0, as repeat_interleave gives.",
    ),
    QuizItem(
        question="Your language model's loss on held-out text falls to 0.03. First suspicion?",
        choices=("overfitting", "the causal mask is missing", "the learning rate is too high"),
        answer=1,
        why="Overfitting would not show on held-out text. Below the entropy of the text there is only a leak.",
    ),
    QuizItem(
        question="You pass a sliding-window mask to full attention. How much faster does a text of 100,000 tokens get?",
        choices=("length / window times", "twice", "not at all"),
        answer=2,
        why="All pairs are computed and then hidden. Only work in blocks, or a kernel that skips, saves.",
    ),
    QuizItem(
        question="A search engine needs vectors for 50 million texts. Which family first?",
        choices=("an encoder", "a decoder of 70 B", "an encoder-decoder"),
        answer=0,
        why="One cheap pass for each text, with both sides in view, and nothing has to be written.",
    ),
]
