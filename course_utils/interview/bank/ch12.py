"""Interview questions and quiz of chapter 12."""

from course_utils.interview.bank import Question, QuizItem

QUESTIONS = [
    Question(
        question="Explain RLHF with PPO, from the data to the finished model.",
        short=(
            "Comparisons train a reward model. The instruct model, as the policy, answers prompts; the reward model scores the answers; a "
            "penalty per token holds the policy near its reference; a value model says what was expected; and what came out better becomes more "
            "likely, in small clipped steps. Mine gained at least {12.gain_low:.2f} points of the oracle's score (lower end of 95 %) at a KL of "
            "{12.kl:.1f} nats per answer."
        ),
        deep=(
            "One iteration: sample answers at temperature 1; keep the log-probabilities of the sampling policy; reward per token = -beta (log p - log "
            "p_ref), plus the score at the last token; advantages by GAE, whitened; some epochs of minibatches with the clipped policy loss and "
            "a clipped value loss; stop early if the policy has moved far. Then new answers, because the old ones are off-policy. Two rounds of the whole "
            "are common: new comparisons on the new policy's answers, a new reward model. Validate by something that is not the reward: people, or here the "
            "oracle. Sources: Ziegler et al. 1909.08593, Stiennon et al. 2009.01325, InstructGPT 2203.02155."
        ),
        topics=("A7", "A8", "A20", "P3"),
        followups=(
            "Why not tune on the best answers by cross-entropy? That is best-of-n distillation; strong, but it never learns from bad answers.",
            "What changes in a second round? The comparisons are about answers that the policy gives now.",
        ),
    ),
    Question(
        question="Which models does PPO keep in memory, and how would you save some?",
        short=(
            "Policy and value model, both trained; reward model and reference, both frozen. In mixed precision 16 bytes per trained and 2 per frozen parameter: "
            "four models of 7 B take 252 GB, without activations and cache."
        ),
        deep=(
            "Leave out the value model: RLOO and GRPO compare several answers to one prompt. Leave out the reference: with LoRA it is the policy with the adapter "
            "off. Smaller reward and value models, or a value head on the policy's body (then the two losses disturb each other). Shard "
            "with FSDP, offload the frozen ones. DPO needs neither reward model nor sampling. In large runs sampling is most of the time, so answers "
            "are written by an inference engine with its own copy of the weights; here, with a small model and a good decode loop, it took "
            "{12.generation_share:.0%}."
        ),
        topics=("A7", "A8", "A12"),
        followups=("Where does the time go in a large run? Into sampling, often more than half.",),
    ),
    Question(
        question="What is the PPO objective, and why are its updates small and controlled?",
        short=(
            "Minus the mean of min(ratio A, clip(ratio, 0.8, 1.2) A). Several steps are taken on the same answers; the ratio says how far the policy has "
            "moved since it wrote them, and the clip ends the gain at 20 %. The minimum leaves mistakes unclipped, so they can be undone."
        ),
        deep=(
            "Four brakes work at different ranges: the clip, per token and iteration; an early stop of an iteration on KL to the sampling policy; the norm of the gradient; and the KL "
            "term to the reference, over the whole training. Before the first update all ratios are 1, so over the batch the loss is minus the mean of whitened "
            "advantages, 0, and says nothing; its gradient is the policy gradient. With a forgotten minus the loss looked the same, and the "
            "reward ended {12.sign:.2f} lower. The value loss is clipped too, as in OpenAI's baselines. Source: arXiv 1707.06347, equation 7."
        ),
        topics=("A16", "A8"),
        followups=(
            "What if 60 % of tokens are clipped? The rate is too high, or too many epochs on the same answers.",
            "Draw the objective for A < 0. Flat below 0.8, and falling without limit to the right.",
        ),
    ),
    Question(
        question="What does the KL term do? What happens without it?",
        short=(
            "It prices the distance from the reference, token by token, inside the reward. Both of my runs ended at nearly the same reward; but "
            "without the term the oracle's score fell by {12.hacked:.2f} from its best moment, and with it, it ended {12.kl_holds:.2f} higher. The "
            "reward alone could not tell the two apart."
        ),
        deep=(
            "The reward model is right where raters compared. An optimizer leaves that region, because a guess that is too high is as good to it as a true "
            "one: Goodhart. Gao et al. (arXiv 2210.10760) fit the true score as d (alpha - beta log d) for RL and d (alpha - beta d) for best-of-n, d = sqrt(KL). "
            "The term also keeps fluency and variety. Its optimum is known: the reference times exp(reward / beta), normalized; DPO starts from that "
            "(chapter 13). Choose beta by the outside measure, or steer it to a target KL (Ziegler et al., section 2.2). k1 is the estimate in the reward; GRPO takes k3 as a "
            "term of the loss, whose gradient is only near that of the KL. Other remedies: early stop, ensembles, new comparisons, a penalty on length."
        ),
        topics=("A7", "A8", "A16"),
        followups=(
            "Forward or reverse KL? KL(policy || reference), over the policy's own samples: it punishes saying what the reference would not.",
            "Can the policy reach a high reward with a small KL? Yes, by changing few, decisive tokens: ours its first.",
        ),
    ),
    Question(
        question="What do lambda = 0 and lambda = 1 mean in GAE, and what are advantages for?",
        short=(
            "Advantages say how much better than expected a token turned out; subtracting the expectation leaves the direction of the gradient and takes away noise. "
            "Lambda 0 looks one step ahead and trusts the value model: little variance, biased. Lambda 1 takes all that came: unbiased, noisy. 0.95 is usual."
        ),
        deep=(
            "delta_t = r_t + gamma V_{t+1} - V_t; A_t = sum of (gamma lambda)^k delta_{t+k}. The score arrives at the last token, so with lambda = 0 and an "
            "untrained value model only that token learns. Behind the end token V is 0: taking it from padding is a frequent bug. The returns A + V are the "
            "value model's targets. Whitening over the batch makes the step independent of the reward's scale. Many systems take gamma = lambda = 1 and drop "
            "the value model: with short answers and a reward at the end little is lost (Ahmadian et al., arXiv 2402.14740)."
        ),
        topics=("A16", "A8"),
        followups=("Why gamma = 1? The answers are short and end; there is no reason to like an early reward more.",),
    ),
    Question(
        question="Your RLHF run shows a negative KL, a policy loss at zero and a rising value loss. Is it broken?",
        short=(
            "None of these need be. k1 is right on average and negative at single tokens, down to {12.k1_lowest:.1f} nats in mine; k3 never is. Over the batch the policy loss starts at 0 in "
            "every iteration, because advantages are whitened. The value loss rises when the policy finds something new."
        ),
        deep=(
            "A negative *mean* KL over many answers is a bug, though: sampling with a temperature or top-p while log-probabilities are taken without; dropout left on; "
            "another precision in the inference engine; padding counted. What really warns: entropy to zero in a few iterations, length rising with the reward, a reward that "
            "rises while an outside score falls, a large clipped share, answers that look alike. Read twenty answers at every checkpoint."
        ),
        topics=("A16", "A7"),
        followups=(
            "The reward does not rise at all. First look? Whether the score reaches the right token and the sign is right.",
        ),
    ),
    Question(
        question="When would you take best-of-n instead of PPO?",
        short=(
            "When n times the price per answer is fine, or no training is possible, and as the baseline always. My best of n raised the reward model's score by {12.best_of_n:.2f} and the share of "
            "polite answers by {12.best_of_n_polite:.2f} (of 1), at most log n - (n-1)/n nats from the model, 1.8 for 16; truth, which the reward model does not see, did not gain."
        ),
        deep=(
            "It cannot break the model, needs no tuning, and stops being better when the reward model's errors are what is selected: over-optimization exists here too, "
            "later. Its distance is bounded and known beforehand, which PPO's is not; and every answer stays one that the model would have given. PPO pays once, in training. Between the two: tune on the best of n "
            "(rejection sampling, as Llama 2 did before its PPO), or DPO on best against worst. Compare them at equal distance, or say that you did not."
        ),
        topics=("A8", "A7"),
        followups=(
            "Why is its KL only an upper bound? If draws repeat, the best of them is less special (arXiv 2401.01879).",
        ),
    ),
]

QUIZ = [
    QuizItem(
        question="Which of PPO's four models are trained?",
        choices=("Policy and reward model", "Policy and value model", "All four", "The policy alone"),
        answer=1,
        why="Reward model and reference only read.",
    ),
    QuizItem(
        question="A token has A = -1 and has become 50 % more likely. What does the clipped loss (0.2) do?",
        choices=(
            "Its gradient is zero: outside of the clip",
            "Its gradient makes the token less likely",
            "Its gradient makes the token more likely",
            "The loss is not defined",
        ),
        answer=1,
        why="min(1.5 · -1, 1.2 · -1) = -1.5, the unclipped term: mistakes can be undone.",
    ),
    QuizItem(
        question="Without the KL term the reward rises for forty iterations. What do you know about the answers?",
        choices=(
            "They became better",
            "They became longer",
            "The reward model likes them more",
            "They are closer to the reference",
        ),
        answer=2,
        why="Nothing else. Ask an outside judge, and read them.",
    ),
    QuizItem(
        question="Before the first update of an iteration, the policy loss over the whole batch is 0.00. Why?",
        choices=(
            "The model does not learn",
            "The reward is zero",
            "All ratios are 1, and whitened advantages have mean 0",
            "Everything is clipped",
        ),
        answer=2,
        why="The value says nothing; the gradient is that of the policy gradient.",
    ),
    QuizItem(
        question="Where does the reward model's score enter the rewards of the tokens?",
        choices=(
            "At the first token",
            "At the last token of the answer",
            "At every token",
            "At the last place of the row",
        ),
        answer=1,
        why="It judges the whole. The last place of the row may be padding.",
    ),
]
