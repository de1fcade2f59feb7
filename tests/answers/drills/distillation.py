# %% distillation_loss wrong: the hard label of the teacher
def distillation_loss(student, teacher, labels, temperature, alpha):
    hard = F.cross_entropy(student / temperature, teacher.detach().argmax(-1))
    return alpha * temperature**2 * hard + (1 - alpha) * F.cross_entropy(student, labels)

# %% distillation_loss wrong: T squared before both parts
def distillation_loss(student, teacher, labels, temperature, alpha):
    t = temperature
    kl = F.kl_div((student / t).log_softmax(-1), (teacher.detach() / t).softmax(-1), reduction="batchmean")
    return t**2 * (alpha * kl + (1 - alpha) * F.cross_entropy(student, labels))

# %% distillation_loss wrong: mean squared error of the logits
def distillation_loss(student, teacher, labels, temperature, alpha):
    mse = F.mse_loss(student / temperature, teacher.detach() / temperature)
    return alpha * temperature**2 * mse + (1 - alpha) * F.cross_entropy(student, labels)

# %% distillation_loss wrong: divided by T twice
def distillation_loss(student, teacher, labels, temperature, alpha):
    t = temperature
    kl = F.kl_div((student / t).log_softmax(-1), (teacher.detach() / t).softmax(-1), reduction="batchmean")
    return alpha * kl / t**2 + (1 - alpha) * F.cross_entropy(student, labels)

# %% distillation_loss right: kl_div
def distillation_loss(student, teacher, labels, temperature, alpha):
    t = temperature
    with torch.no_grad():
        target = torch.log_softmax(teacher / t, -1)
    kl = F.kl_div(torch.log_softmax(student / t, -1), target, reduction="batchmean", log_target=True)
    return alpha * t * t * kl + (1 - alpha) * F.cross_entropy(student, labels)

# %% distillation_loss right: cross-entropy less entropy
def distillation_loss(student, teacher, labels, temperature, alpha):
    p = torch.softmax(teacher.detach() / temperature, -1)
    cross = F.cross_entropy(student / temperature, p)
    own = -(p * p.log()).sum(-1).mean()
    return alpha * temperature**2 * (cross - own) + (1 - alpha) * F.nll_loss(student.log_softmax(-1), labels)
