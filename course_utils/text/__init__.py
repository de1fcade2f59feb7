"""Text on its way to a model: the tokenizer, the chat template, packing, batching and masking.

=================  ==============================================================
documents.py       what a document must look like
curation.py        from a raw crawl to a corpus, and the card that says what was done
deduplication.py   exact and near copies
quality.py         signals of bad text
splits.py          training and test data that share no group
special_tokens.py  the six special tokens, the chat template made of them, other tokenizers' own
bpe.py             byte-pair encoding by hand
words.py           a tokenizer of whole words, for small experiments
tokenizer.py       byte-level BPE, trained here, used as a `PreTrainedTokenizerFast`
vocabulary.py      words that a tokenizer cuts into many pieces, and a larger tokenizer
readers.py         files of rows, each row read or named: JSONL, JSON, CSV, TSV, Parquet, text
columns.py         which column is what, found and read row by row
data_check.py      a file of the learner's own, checked, counted and split in one pass
near_copies.py     near copies in data that do not fit into memory
row_encoding.py    rows of any kind as tokens, many at a time
word_cache.py      the same tokens quicker: words that were met before are looked up
formats.py         instruction rows and labelled rows, read as conversations
chat.py            conversations as tokens, which of them the assistant said, and where it ends
prompts.py         few-shot prompts
retrieval.py       the passages that a question is about: BM25
packing.py         documents cut or fitted into rows of one length
batching.py        rows, conversations, comparisons and labelled texts in batches
counterfactual.py  the same sentences with the other pronouns
masking.py         the corruption of masked language modelling
=================  ==============================================================
"""
