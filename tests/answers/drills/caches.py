# %% kv_cache wrong: always writes at the front
class KVCache:
    def __init__(self, batch, kv_heads, max_length, width):
        self.k, self.v = torch.zeros(2, batch, kv_heads, max_length, width)
        self.length = 0
    def append(self, k, v):
        n = k.shape[2]
        if self.length + n > self.k.shape[2]:
            raise ValueError("full")
        self.k[:, :, :n], self.v[:, :, :n] = k, v
        self.length += n
        return self.k[:, :, : self.length], self.v[:, :, : self.length]

# %% kv_cache wrong: the store belongs to the class
class KVCache:
    parts, length = [], 0
    def __init__(self, batch, kv_heads, max_length, width):
        self.room = max_length
    def append(self, k, v):
        if KVCache.length + k.shape[2] > self.room:
            raise ValueError("full")
        KVCache.parts.append((k.clone(), v.clone()))
        KVCache.length += k.shape[2]
        return tuple(torch.cat([p[i] for p in self.parts], 2) for i in (0, 1))

# %% kv_cache wrong: one place too few
class KVCache:
    def __init__(self, batch, kv_heads, max_length, width):
        self.k, self.v = torch.zeros(2, batch, kv_heads, max_length, width)
        self.length = 0
    def append(self, k, v):
        end = self.length + k.shape[2]
        if end >= self.k.shape[2]:
            raise ValueError("full")
        self.k[:, :, self.length : end], self.v[:, :, self.length : end] = k, v
        self.length = end
        return self.k[:, :, :end], self.v[:, :, :end]

# %% kv_cache wrong: counts pieces, not places
class KVCache:
    def __init__(self, batch, kv_heads, max_length, width):
        self.k = self.v = None
        self.length, self.room = 0, max_length
    def append(self, k, v):
        if (0 if self.k is None else self.k.shape[2]) + k.shape[2] > self.room:
            raise ValueError("full")
        self.k = k.clone() if self.k is None else torch.cat([self.k, k], 2)
        self.v = v.clone() if self.v is None else torch.cat([self.v, v], 2)
        self.length += 1
        return self.k, self.v

# %% kv_cache right: concatenation
class KVCache:
    def __init__(self, batch, kv_heads, max_length, width):
        self.k, self.v = torch.empty(2, batch, kv_heads, 0, width)
        self.room = max_length
    @property
    def length(self):
        return self.k.shape[2]
    def append(self, k, v):
        if self.length + k.shape[2] > self.room:
            raise ValueError("no room")
        self.k, self.v = torch.cat([self.k, k], 2), torch.cat([self.v, v], 2)
        return self.k, self.v

# %% kv_cache right: one store for both
class KVCache:
    def __init__(self, batch, kv_heads, max_length, width):
        self.store, self.length = torch.empty(2, batch, kv_heads, max_length, width), 0
    def append(self, k, v):
        room = self.store.shape[3]
        if k.shape[2] > room - self.length:
            raise ValueError("no room")
        self.store[:, :, :, self.length : self.length + k.shape[2]] = torch.stack([k, v])
        self.length += k.shape[2]
        return tuple(self.store[:, :, :, : self.length])

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
