# %% wsd_lr wrong: the stable part ends one step early
def wsd_lr(step, warmup, decay, total, peak):
    if step < warmup:
        return peak * step / warmup
    if step < total - decay - 1 or not decay:
        return peak
    return peak * (total - step) / (decay + 1)

# %% wsd_lr wrong: the square root, one minus
def wsd_lr(step, warmup, decay, total, peak):
    if step < warmup:
        return peak * step / warmup
    if step < total - decay or not decay:
        return peak
    return peak * (1 - math.sqrt((step - total + decay) / decay))

# %% wsd_lr wrong: warm-up by a cosine
def wsd_lr(step, warmup, decay, total, peak):
    if step < warmup:
        return peak * (1 - math.cos(math.pi * step / warmup)) / 2
    return peak * min(1.0, (total - step) / decay) if decay else peak

# %% wsd_lr right: the smallest of three
def wsd_lr(step, warmup, decay, total, peak):
    up = step / warmup if warmup else 1.0
    down = (total - step) / decay if decay else 1.0
    return peak * min(1.0, up, down)

# %% wsd_lr right: cases
def wsd_lr(step, warmup, decay, total, peak):
    begin = total - decay
    if warmup > 0 and step <= warmup:
        return step * peak / warmup
    if step <= begin:
        return float(peak)
    return peak - peak * (step - begin) / decay

# %% cosine_lr wrong: the floor twice
def cosine_lr(step, warmup, total, peak, floor):
    if step < warmup:
        return peak * step / warmup
    t = (step - warmup) / (total - warmup)
    return floor + peak * (1 + math.cos(math.pi * t)) / 2 - floor / 2

# %% cosine_lr wrong: degrees of a sine
def cosine_lr(step, warmup, total, peak, floor):
    if step < warmup:
        return peak * step / warmup
    t = (step - warmup) / (total - warmup)
    return floor + (peak - floor) * (1 - math.sin(math.pi / 2 * t))

# %% cosine_lr wrong: counted over the total, from the warm-up on
def cosine_lr(step, warmup, total, peak, floor):
    if step < warmup:
        return peak * step / warmup
    return floor + (peak - floor) * (1 + math.cos(math.pi * (step - warmup) / total)) / 2

# %% cosine_lr wrong: warm-up from the floor
def cosine_lr(step, warmup, total, peak, floor):
    if step < warmup:
        return floor + (peak - floor) * step / warmup
    t = (step - warmup) / (total - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * t)) / 2

# %% cosine_lr right: a square
def cosine_lr(step, warmup, total, peak, floor):
    if step < warmup:
        return peak * (step / warmup)
    return floor + (peak - floor) * math.cos(math.pi / 2 * (step - warmup) / (total - warmup)) ** 2

# %% cosine_lr right: the middle and the swing
def cosine_lr(step, warmup, total, peak, floor):
    if warmup and step < warmup:
        return step * peak / warmup
    middle, swing = (peak + floor) / 2, (peak - floor) / 2
    return middle + swing * math.cos((step - warmup) * math.pi / (total - warmup))
