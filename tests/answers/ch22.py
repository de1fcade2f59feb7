# %% 22.1 wrong: keys without values
def largest_batch(target, weight_bytes, layers, kv_heads, head_dim, length, bytes_per_number, memory, bandwidth):
    per_text = layers * kv_heads * head_dim * length * bytes_per_number
    return max(0, int(min((memory - weight_bytes) / per_text, (target * bandwidth - weight_bytes) / per_text)))

# %% 22.1 wrong: the memory alone
def largest_batch(target, weight_bytes, layers, kv_heads, head_dim, length, bytes_per_number, memory, bandwidth):
    per_text = 2 * layers * kv_heads * head_dim * length * bytes_per_number
    return max(0, int((memory - weight_bytes) // per_text))

# %% 22.1 wrong: weights for each text
def largest_batch(target, weight_bytes, layers, kv_heads, head_dim, length, bytes_per_number, memory, bandwidth):
    per_text = 2 * layers * kv_heads * head_dim * length * bytes_per_number
    return int(min((memory - weight_bytes) // per_text, target * bandwidth // (weight_bytes + per_text)))

# %% 22.1 wrong: may be negative
def largest_batch(target, weight_bytes, layers, kv_heads, head_dim, length, bytes_per_number, memory, bandwidth):
    per_text = 2 * layers * kv_heads * head_dim * length * bytes_per_number
    return int(min((memory - weight_bytes) // per_text, (target * bandwidth - weight_bytes) // per_text))

# %% 22.1 wrong: a fraction of a text
def largest_batch(target, weight_bytes, layers, kv_heads, head_dim, length, bytes_per_number, memory, bandwidth):
    per_text = 2 * layers * kv_heads * head_dim * length * bytes_per_number
    return max(0, min((memory - weight_bytes) / per_text, (target * bandwidth - weight_bytes) / per_text))

# %% 22.1 wrong: the weights take no time
def largest_batch(target, weight_bytes, layers, kv_heads, head_dim, length, bytes_per_number, memory, bandwidth):
    per_text = 2 * layers * kv_heads * head_dim * length * bytes_per_number
    return max(0, int(min((memory - weight_bytes) // per_text, target * bandwidth // per_text)))

# %% 22.1 wrong: milliseconds
def largest_batch(target, weight_bytes, layers, kv_heads, head_dim, length, bytes_per_number, memory, bandwidth):
    per_text = 2 * layers * kv_heads * head_dim * length * bytes_per_number
    by_time = (target / 1000 * bandwidth - weight_bytes) // per_text
    return max(0, int(min((memory - weight_bytes) // per_text, by_time)))

# %% 22.1 right: one limit of bytes
def largest_batch(target, weight_bytes, layers, kv_heads, head_dim, length, bytes_per_number, memory, bandwidth):
    free = min(memory, target * bandwidth) - weight_bytes
    if free < 0:
        return 0
    return int(free // (2 * layers * kv_heads * head_dim * length * bytes_per_number))

# %% 22.1 right: numpy
def largest_batch(target, weight_bytes, layers, kv_heads, head_dim, length, bytes_per_number, memory, bandwidth):
    each = 2 * layers * kv_heads * head_dim * length * bytes_per_number
    limits = (np.array([memory, target * bandwidth]) - weight_bytes) / each
    return int(np.floor(limits.min().clip(min=0)))

# %% 22.1 right: one more until it does not fit
def largest_batch(target, weight_bytes, layers, kv_heads, head_dim, length, bytes_per_number, memory, bandwidth):
    each = 2 * layers * kv_heads * head_dim * length * bytes_per_number
    texts = 0
    while True:
        held = weight_bytes + (texts + 1) * each
        if held > memory or held / bandwidth > target:
            return texts
        texts += 1

# %% 22.2 wrong: the forward pass alone
def training_bill(parameters, tokens, gpus, peak, mfu, price, goodput=1.0):
    seconds = 2 * parameters * tokens / (gpus * peak * mfu * goodput)
    return seconds / 86_400, gpus * seconds / 3600 * price

# %% 22.2 wrong: no goodput
def training_bill(parameters, tokens, gpus, peak, mfu, price, goodput=1.0):
    days = 6 * parameters * tokens / (gpus * peak * mfu) / 86_400
    return days, days * 24 * gpus * price

# %% 22.2 wrong: goodput makes it shorter
def training_bill(parameters, tokens, gpus, peak, mfu, price, goodput=1.0):
    days = 6 * parameters * tokens / (gpus * peak * mfu) / 86_400 * goodput
    return days, days * 24 * gpus * price

# %% 22.2 wrong: one GPU is paid
def training_bill(parameters, tokens, gpus, peak, mfu, price, goodput=1.0):
    days = 6 * parameters * tokens / (gpus * peak * mfu * goodput) / 86_400
    return days, days * 24 * price

# %% 22.2 wrong: hours
def training_bill(parameters, tokens, gpus, peak, mfu, price, goodput=1.0):
    hours = 6 * parameters * tokens / (gpus * peak * mfu * goodput) / 3600
    return hours, hours * gpus * price

# %% 22.2 wrong: lost hours are free
def training_bill(parameters, tokens, gpus, peak, mfu, price, goodput=1.0):
    work = 6 * parameters * tokens / (gpus * peak * mfu)
    return work / goodput / 86_400, gpus * work / 3600 * price

# %% 22.2 wrong: the whole peak
def training_bill(parameters, tokens, gpus, peak, mfu, price, goodput=1.0):
    seconds = 6 * parameters * tokens / (gpus * peak * goodput)
    return seconds / 86_400, gpus * seconds / 3600 * price

# %% 22.2 right: GPU-hours first
def training_bill(parameters, tokens, gpus, peak, mfu, price, goodput=1.0):
    gpu_hours = 6 * parameters * tokens / (peak * mfu * goodput) / 3600
    return gpu_hours / gpus / 24, gpu_hours * price

# %% 22.2 right: a list
def training_bill(parameters, tokens, gpus, peak, mfu, price, goodput=1.0):
    days = 6 * parameters * tokens / (gpus * peak * mfu) / goodput / 3600 / 24
    return [days, 24 * days * gpus * price]

# %% 22.2 right: numpy
def training_bill(parameters, tokens, gpus, peak, mfu, price, goodput=1.0):
    days = np.float64(6) * parameters * tokens / np.prod([gpus, peak, mfu, goodput, 86_400.0])
    return np.array([days, days * 24 * gpus * price])

# %% 22.3 wrong: the judge is trusted
def questions_needed(difference, discordant, agreement=1.0, comparisons=1, power=0.8, alpha=0.05):
    z, y = NormalDist().inv_cdf(1 - alpha / comparisons / 2), NormalDist().inv_cdf(power)
    return ceil((z * discordant**0.5 + y * (discordant - difference**2) ** 0.5) ** 2 / difference**2)

# %% 22.3 wrong: the difference times the agreement
def questions_needed(difference, discordant, agreement=1.0, comparisons=1, power=0.8, alpha=0.05):
    d = difference * agreement
    z, y = NormalDist().inv_cdf(1 - alpha / comparisons / 2), NormalDist().inv_cdf(power)
    return ceil((z * discordant**0.5 + y * (discordant - d**2) ** 0.5) ** 2 / d**2)

# %% 22.3 wrong: one-sided
def questions_needed(difference, discordant, agreement=1.0, comparisons=1, power=0.8, alpha=0.05):
    d = difference * (2 * agreement - 1)
    z, y = NormalDist().inv_cdf(1 - alpha / comparisons), NormalDist().inv_cdf(power)
    return ceil((z * discordant**0.5 + y * (discordant - d**2) ** 0.5) ** 2 / d**2)

# %% 22.3 wrong: no correction
def questions_needed(difference, discordant, agreement=1.0, comparisons=1, power=0.8, alpha=0.05):
    d = difference * (2 * agreement - 1)
    z, y = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)
    return ceil((z * discordant**0.5 + y * (discordant - d**2) ** 0.5) ** 2 / d**2)

# %% 22.3 wrong: rounded
def questions_needed(difference, discordant, agreement=1.0, comparisons=1, power=0.8, alpha=0.05):
    d = difference * (2 * agreement - 1)
    z, y = NormalDist().inv_cdf(1 - alpha / comparisons / 2), NormalDist().inv_cdf(power)
    return int((z * discordant**0.5 + y * (discordant - d**2) ** 0.5) ** 2 / d**2)

# %% 22.3 wrong: no number of questions but a fraction
def questions_needed(difference, discordant, agreement=1.0, comparisons=1, power=0.8, alpha=0.05):
    d = difference * (2 * agreement - 1)
    z, y = NormalDist().inv_cdf(1 - alpha / comparisons / 2), NormalDist().inv_cdf(power)
    return (z * discordant**0.5 + y * (discordant - d**2) ** 0.5) ** 2 / d**2

# %% 22.3 wrong: the same root twice
def questions_needed(difference, discordant, agreement=1.0, comparisons=1, power=0.8, alpha=0.05):
    d = difference * (2 * agreement - 1)
    z, y = NormalDist().inv_cdf(1 - alpha / comparisons / 2), NormalDist().inv_cdf(power)
    return ceil((z + y) ** 2 * discordant / d**2)

# %% 22.3 right: divided first
def questions_needed(difference, discordant, agreement=1.0, comparisons=1, power=0.8, alpha=0.05):
    left = difference * (2 * agreement - 1)
    normal = NormalDist()
    z = normal.inv_cdf(1 - alpha / (2 * comparisons))
    y = normal.inv_cdf(power)
    return ceil(((z * np.sqrt(discordant) + y * np.sqrt(discordant - left**2)) / left) ** 2)

# %% 22.3 right: quantiles from below
def questions_needed(difference, discordant, agreement=1.0, comparisons=1, power=0.8, alpha=0.05):
    d = difference * agreement - difference * (1 - agreement)
    z, y = -NormalDist().inv_cdf(alpha / comparisons / 2), -NormalDist().inv_cdf(1 - power)
    return int(np.ceil((z * discordant**0.5 + y * (discordant - d * d) ** 0.5) ** 2 / d / d))

# %% 22.3 right: searched
def questions_needed(difference, discordant, agreement=1.0, comparisons=1, power=0.8, alpha=0.05):
    d = difference * (2 * agreement - 1)
    z, n = NormalDist().inv_cdf(1 - alpha / comparisons / 2), 1
    while NormalDist().cdf((d * n**0.5 - z * discordant**0.5) / (discordant - d**2) ** 0.5) < power:
        n += 1
    return n

# %% 22.4 wrong: the recall
def next_interval(stability, desired=0.9, decay=0.1542):
    f = 0.9 ** (-1 / decay) - 1
    return (1 + f * desired / stability) ** -decay

# %% 22.4 wrong: always the stability
def next_interval(stability, desired=0.9, decay=0.1542):
    return stability

# %% 22.4 wrong: the sign of the exponent
def next_interval(stability, desired=0.9, decay=0.1542):
    f = 0.9 ** (-1 / decay) - 1
    return stability * (desired ** (1 / decay) - 1) / f

# %% 22.4 wrong: whole days
def next_interval(stability, desired=0.9, decay=0.1542):
    f = 0.9 ** (-1 / decay) - 1
    return round(stability * (desired ** (-1 / decay) - 1) / f)

# %% 22.4 wrong: exponential forgetting
def next_interval(stability, desired=0.9, decay=0.1542):
    return stability * np.log(desired) / np.log(0.9)

# %% 22.4 wrong: f multiplied
def next_interval(stability, desired=0.9, decay=0.1542):
    f = 0.9 ** (-1 / decay) - 1
    return stability * (desired ** (-1 / decay) - 1) * f

# %% 22.4 right: with a name for each part
def next_interval(stability, desired=0.9, decay=0.1542):
    f = 0.9 ** (-1 / decay) - 1
    grown = desired ** (-1 / decay)
    return (grown - 1) * stability / f

# %% 22.4 right: roots in place of negative powers
def next_interval(stability, desired=0.9, decay=0.1542):
    return stability * (1 / desired ** (1 / decay) - 1) / (1 / 0.9 ** (1 / decay) - 1)

# %% 22.4 right: by halving
def next_interval(stability, desired=0.9, decay=0.1542):
    f, low, high = 0.9 ** (-1 / decay) - 1, 0.0, 1e5
    for _ in range(100):
        t = (low + high) / 2
        if (1 + f * t / stability) ** -decay > desired:
            low = t
        else:
            high = t
    return high
