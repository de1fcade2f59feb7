# %% absmax_quantize wrong: per column
def absmax_quantize(x):
    s = x.abs().amax(0) / 127
    return (x / s.clamp(min=1e-9)).round().to(torch.int8), s[: len(x)]

# %% absmax_quantize wrong: a zero point as well
def absmax_quantize(x):
    lo, hi = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    s = ((hi - lo) / 254).clamp(min=1e-9)
    return ((x - (lo + hi) / 2) / s).round().to(torch.int8), s[:, 0]

# %% absmax_quantize wrong: rounds up
def absmax_quantize(x):
    s = x.abs().amax(1) / 127
    return (x / torch.where(s == 0, 1.0, s)[:, None]).ceil().to(torch.int8), s

# %% absmax_quantize wrong: scale of a zero row is 1
def absmax_quantize(x):
    s = x.abs().amax(1) / 127
    s = torch.where(s == 0, torch.ones_like(s), s)
    return (x / s[:, None]).round().to(torch.int8), s

# %% absmax_quantize right: a small number below the line
def absmax_quantize(x):
    top = x.abs().max(dim=1).values
    codes = torch.round(127 * x / top.clamp(min=1e-30)[:, None])
    return codes.to(torch.int8), top / 127

# %% absmax_quantize right: row by row
def absmax_quantize(x):
    codes, scales = torch.zeros(x.shape, dtype=torch.int8), torch.zeros(len(x))
    for i, row in enumerate(x):
        top = float(row.abs().max())
        scales[i] = top / 127
        if top:
            codes[i] = (row * 127 / top).round().to(torch.int8)
    return codes, scales

# %% nf4_quantize wrong: the magnitude is quantized, the sign is lost
def nf4_quantize(x, levels, block):
    r = x.view(-1, block)
    m = r.abs().amax(1)
    u = r.abs() / m.clamp(min=1e-9)[:, None]
    return (u[..., None] - levels).abs().argmin(-1).flatten(), m

# %% nf4_quantize wrong: codes from 1
def nf4_quantize(x, levels, block):
    r = x.view(-1, block)
    m = r.abs().amax(1)
    u = r / m.clamp(min=1e-9)[:, None]
    return (u[..., None] - levels).abs().argmin(-1).flatten() + 1, m

# %% nf4_quantize wrong: the root mean square instead of the largest
def nf4_quantize(x, levels, block):
    r = x.view(-1, block)
    m = r.pow(2).mean(1).sqrt()
    u = r / m.clamp(min=1e-9)[:, None]
    return (u[..., None] - levels).abs().argmin(-1).flatten(), m

# %% nf4_quantize wrong: the levels are scaled by the whole maximum
def nf4_quantize(x, levels, block):
    m = x.view(-1, block).abs().amax(1)
    return (x[:, None] - levels * x.abs().max()).abs().argmin(-1), m

# %% nf4_quantize right: borders between the levels
def nf4_quantize(x, levels, block):
    r = x.reshape(-1, block)
    m = r.abs().max(1).values
    u = torch.where(m[:, None] > 0, r / m[:, None], torch.zeros(()))
    return torch.bucketize(u, (levels[1:] + levels[:-1]) / 2).flatten(), m

# %% nf4_quantize right: block by block
def nf4_quantize(x, levels, block):
    codes, tops = [], []
    for start in range(0, len(x), block):
        piece = x[start : start + block]
        top = piece.abs().max()
        tops.append(top)
        for v in piece:
            u = v / top if top > 0 else v
            codes.append(min(range(16), key=lambda i: abs(float(levels[i]) - float(u))))
    return torch.tensor(codes), torch.stack(tops)

# %% gptq_step wrong: the error of the other sign
def gptq_step(weight, factor, column, scale):
    w = weight.clone()
    q = (w[:, column] / scale).round().clamp(-8, 7) * scale
    e = (q - w[:, column]) / factor[column, column]
    w[:, column] = q
    w[:, column + 1 :] -= e[:, None] * factor[column, column + 1 :]
    return w

# %% gptq_step wrong: the column itself gets its share too
def gptq_step(weight, factor, column, scale):
    w = weight.clone()
    q = (w[:, column] / scale).round().clamp(-8, 7) * scale
    e = (w[:, column] - q) / factor[column, column]
    w[:, column] = q
    w[:, column:] -= e[:, None] * factor[column, column:]
    return w

# %% gptq_step wrong: error taken after the column was replaced
def gptq_step(weight, factor, column, scale):
    w = weight.clone()
    w[:, column] = (w[:, column] / scale).round().clamp(-8, 7) * scale
    e = (w[:, column] - w[:, column]) / factor[column, column]
    w[:, column + 1 :] -= e[:, None] * factor[column, column + 1 :]
    return w

# %% gptq_step wrong: whole numbers, not multiplied by the scale
def gptq_step(weight, factor, column, scale):
    w = weight.clone()
    q = (w[:, column] / scale).round().clamp(-8, 7)
    e = (w[:, column] - q) / factor[column, column]
    w[:, column] = q
    w[:, column + 1 :] -= e[:, None] * factor[column, column + 1 :]
    return w

# %% gptq_step right: outer
def gptq_step(weight, factor, column, scale):
    old = weight[:, column]
    q = scale * torch.clamp(torch.round(old / scale), min=-8, max=7)
    row = factor[column].clone()
    row[: column + 1] = 0
    out = weight - torch.outer(old - q, row / factor[column, column])
    out[:, column] = q
    return out

# %% gptq_step right: number by number
def gptq_step(weight, factor, column, scale):
    out = weight.clone()
    for r in range(weight.shape[0]):
        k = max(-8, min(7, round(float(weight[r, column] / scale[r]))))
        out[r, column] = k * scale[r]
        e = (weight[r, column] - out[r, column]) / factor[column, column]
        for j in range(column + 1, weight.shape[1]):
            out[r, j] = weight[r, j] - e * factor[column, j]
    return out
