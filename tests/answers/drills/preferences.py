# %% bradley_terry_loss wrong: margin of the means
def bradley_terry_loss(chosen, rejected):
    return -F.logsigmoid(chosen.mean() - rejected.mean())

# %% bradley_terry_loss wrong: clamped difference has no gradient
def bradley_terry_loss(chosen, rejected):
    return -F.logsigmoid((chosen - rejected).clamp(-50, 50)).mean()

# %% bradley_terry_loss wrong: squared distance from 1
def bradley_terry_loss(chosen, rejected):
    return (1 - (chosen - rejected)).pow(2).mean()

# %% bradley_terry_loss wrong: half of it
def bradley_terry_loss(chosen, rejected):
    return -0.5 * F.logsigmoid(chosen - rejected).mean()

# %% bradley_terry_loss wrong: detached
def bradley_terry_loss(chosen, rejected):
    return -F.logsigmoid(chosen.detach() - rejected.detach()).mean()

# %% bradley_terry_loss right: logsigmoid
def bradley_terry_loss(chosen, rejected):
    return -F.logsigmoid(chosen - rejected).mean()

# %% bradley_terry_loss right: cross-entropy of two rewards
def bradley_terry_loss(chosen, rejected):
    return F.cross_entropy(torch.stack([chosen, rejected], 1), torch.zeros(len(chosen), dtype=torch.long))

# %% bradley_terry_loss right: logaddexp
def bradley_terry_loss(chosen, rejected):
    return (torch.logaddexp(chosen, rejected) - chosen).mean()

# %% dpo_loss wrong: beta outside
def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    return -beta * F.logsigmoid((chosen - ref_chosen) - (rejected - ref_rejected)).mean()

# %% dpo_loss wrong: only the chosen has a reference
def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    return -F.logsigmoid(beta * (chosen - ref_chosen - rejected)).mean()

# %% dpo_loss wrong: mean of margins
def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    return -F.logsigmoid(beta * ((chosen - ref_chosen) - (rejected - ref_rejected)).mean())

# %% dpo_loss wrong: probabilities instead of logarithms
def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    return -F.logsigmoid(beta * ((chosen.exp() - ref_chosen.exp()) - (rejected.exp() - ref_rejected.exp()))).mean()

# %% dpo_loss wrong: a label smoothing of a tenth
def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    z = beta * ((chosen - ref_chosen) - (rejected - ref_rejected))
    return (-0.9 * F.logsigmoid(z) - 0.1 * F.logsigmoid(-z)).mean()

# %% dpo_loss right: ratios of policy and reference
def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    policy, ref = chosen - rejected, ref_chosen - ref_rejected
    return torch.log1p(torch.exp(-(beta * (policy - ref)).abs())).mean() + F.relu(-beta * (policy - ref)).mean()

# %% dpo_loss right: implicit rewards
def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    a, b = beta * (chosen - ref_chosen), beta * (rejected - ref_rejected)
    return -F.logsigmoid(a - b).sum() / len(chosen)

# %% ipo_loss wrong: the square of the goal is added
def ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    m = (chosen - ref_chosen) - (rejected - ref_rejected)
    return (m**2 + (1 / (2 * beta)) ** 2).mean()

# %% ipo_loss wrong: absolute distance
def ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    m = (chosen - ref_chosen) - (rejected - ref_rejected)
    return (m - 1 / (2 * beta)).abs().mean()

# %% ipo_loss wrong: precedence, (1 / 2) * beta
def ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    m = (chosen - ref_chosen) - (rejected - ref_rejected)
    return (m - 1 / 2 * beta).pow(2).mean()

# %% ipo_loss wrong: square of the mean
def ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    m = (chosen - ref_chosen) - (rejected - ref_rejected)
    return (m.mean() - 1 / (2 * beta)) ** 2

# %% ipo_loss right: mse
def ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    m = (chosen - rejected) - (ref_chosen - ref_rejected)
    return F.mse_loss(m, torch.full_like(m, 0.5 / beta))

# %% ipo_loss right: written out
def ipo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    h = chosen - ref_chosen - rejected + ref_rejected
    return (h * h - h / beta + 0.25 / beta**2).mean()

# %% kto_loss wrong: beta times the gap before KL
def kto_loss(logps, ref_logps, desirable, kl, beta, weight):
    r, z = beta * (logps - ref_logps), max(kl, 0)
    return torch.where(desirable, weight * (1 - torch.sigmoid(r - z)), 1 - torch.sigmoid(z - r)).mean()

# %% kto_loss wrong: means of both kinds are added
def kto_loss(logps, ref_logps, desirable, kl, beta, weight):
    g = logps - ref_logps - max(kl, 0)
    total = torch.zeros(())
    if desirable.any():
        total = total + weight * (1 - torch.sigmoid(beta * g[desirable])).mean()
    if (~desirable).any():
        total = total + (1 - torch.sigmoid(-beta * g[~desirable])).mean()
    return total

# %% kto_loss wrong: the absolute value of KL
def kto_loss(logps, ref_logps, desirable, kl, beta, weight):
    g = logps - ref_logps - abs(kl)
    return torch.where(desirable, weight * (1 - torch.sigmoid(beta * g)), 1 - torch.sigmoid(-beta * g)).mean()

# %% kto_loss wrong: a value to be maximized
def kto_loss(logps, ref_logps, desirable, kl, beta, weight):
    g = logps - ref_logps - max(kl, 0)
    return torch.where(desirable, weight * torch.sigmoid(beta * g), torch.sigmoid(-beta * g)).mean()

# %% kto_loss right: signs
def kto_loss(logps, ref_logps, desirable, kl, beta, weight):
    sign = desirable.float() * 2 - 1
    w = torch.where(desirable, torch.tensor(float(weight)), torch.tensor(1.0))
    return (w * torch.sigmoid(-beta * sign * (logps - ref_logps - max(kl, 0.0)))).mean()

# %% kto_loss right: a loop
def kto_loss(logps, ref_logps, desirable, kl, beta, weight):
    z, total = max(0.0, kl), 0.0
    for lp, ref, good in zip(logps, ref_logps, desirable.tolist()):
        r = lp - ref
        total = total + (weight * (1 - torch.sigmoid(beta * (r - z))) if good else 1 - torch.sigmoid(beta * (z - r)))
    return total / len(logps)
