# %% paged_slots wrong: blocks for the new tokens alone
def paged_slots(table, length, new, block_size, free):
    n = math.ceil(new / block_size)
    if n > len(free):
        raise MemoryError
    t = table + free[:n]
    return [t[p // block_size] * block_size + p % block_size for p in range(length, length + new)], t, free[n:]

# %% paged_slots wrong: lists changed in place
def paged_slots(table, length, new, block_size, free):
    slots = []
    for p in range(length, length + new):
        if p // block_size == len(table):
            if not free:
                raise MemoryError
            table.append(free.pop(0))
        slots.append(table[p // block_size] * block_size + p % block_size)
    return slots, table, free

# %% paged_slots wrong: IndexError instead of MemoryError
def paged_slots(table, length, new, block_size, free):
    table, free, slots = list(table), list(free), []
    for p in range(length, length + new):
        if p // block_size == len(table):
            table.append(free.pop(0))
        slots.append(table[p // block_size] * block_size + p % block_size)
    return slots, table, free

# %% paged_slots wrong: remainder and quotient exchanged
def paged_slots(table, length, new, block_size, free):
    n = max(0, math.ceil((length + new) / block_size) - len(table))
    if n > len(free):
        raise MemoryError
    t = table + free[:n]
    return [t[p % len(t)] * block_size + p // len(t) for p in range(length, length + new)], t, free[n:]

# %% paged_slots right: token by token, on copies
def paged_slots(table, length, new, block_size, free):
    table, free, slots = list(table), list(free), []
    for p in range(length, length + new):
        number, offset = divmod(p, block_size)
        if number == len(table):
            if not free:
                raise MemoryError("no free block")
            table.append(free.pop(0))
        slots.append(table[number] * block_size + offset)
    return slots, table, free

# %% paged_slots right: all places, then the last ones
def paged_slots(table, length, new, block_size, free):
    need = (length + new + block_size - 1) // block_size
    more = max(0, need - len(table))
    if len(free) < more:
        raise MemoryError(f"{more} > {len(free)}")
    whole = [*table, *free[:more]]
    everything = [b * block_size + i for b in whole for i in range(block_size)]
    return everything[length : length + new], whole, list(free[more:])

# %% mla_cache_bytes wrong: the heads share the latent by dividing it
def mla_cache_bytes(layers, tokens, latent, rope_width, heads, head_width, bytes_each):
    return layers * tokens * (latent // heads + rope_width) * bytes_each, layers * tokens * 2 * heads * head_width * bytes_each

# %% mla_cache_bytes wrong: the width of a head is added
def mla_cache_bytes(layers, tokens, latent, rope_width, heads, head_width, bytes_each):
    return layers * tokens * (latent + rope_width + head_width) * bytes_each, layers * tokens * 2 * heads * head_width * bytes_each

# %% mla_cache_bytes wrong: bits
def mla_cache_bytes(layers, tokens, latent, rope_width, heads, head_width, bytes_each):
    return layers * tokens * (latent + rope_width) * bytes_each * 8, layers * tokens * 2 * heads * head_width * bytes_each * 8

# %% mla_cache_bytes wrong: tokens squared in plain attention
def mla_cache_bytes(layers, tokens, latent, rope_width, heads, head_width, bytes_each):
    return layers * tokens * (latent + rope_width) * bytes_each, layers * tokens**2 * 2 * heads * head_width * bytes_each

# %% mla_cache_bytes right: per token first
def mla_cache_bytes(layers, tokens, latent, rope_width, heads, head_width, bytes_each):
    places = layers * tokens * bytes_each
    return places * latent + places * rope_width, places * 2 * heads * head_width

# %% mla_cache_bytes right: sums
def mla_cache_bytes(layers, tokens, latent, rope_width, heads, head_width, bytes_each):
    one = (latent + rope_width) * bytes_each
    other = sum(head_width + head_width for _ in range(heads)) * bytes_each
    return sum(one * tokens for _ in range(layers)), sum(other * tokens for _ in range(layers))
