"""How fast the Isles write and how fast the text becomes tokens: documents and tokens per second.

Run with ``python benchmarks/corpus.py``. The promise is 10,000 documents in under 3 s.
"""

from __future__ import annotations

import time

from course_utils.text.packing import pack
from course_utils.text.tokenizer import train_tokenizer
from course_utils.world import World


def main() -> None:
    """Print one line per step."""
    world = World()
    world.corpus(10)  # imports
    start = time.perf_counter()
    corpus = world.corpus(10_000, seed=1)
    written = time.perf_counter() - start
    start = time.perf_counter()
    tokenizer = train_tokenizer(corpus["text"][:], 1536)
    trained = time.perf_counter() - start
    start = time.perf_counter()
    rows = pack(corpus["text"][:], tokenizer, 128)
    packed = time.perf_counter() - start
    print(f"corpus of 10,000 documents: {written:.2f} s ({10_000 / written:,.0f} documents/s)")
    print(f"tokenizer of 1,536 tokens:  {trained:.2f} s")
    print(f"packing {rows.numel():,} tokens:    {packed:.2f} s ({rows.numel() / packed:,.0f} tokens/s)")


if __name__ == "__main__":
    main()
