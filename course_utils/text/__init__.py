"""Text on its way to a model: the tokenizer, the chat template, packing, batching and masking.

=================  ==============================================================
documents.py       what a document must look like
special_tokens.py  the six special tokens, and the chat template made of them
tokenizer.py       byte-level BPE, trained here, used as a `PreTrainedTokenizerFast`
chat.py            conversations as tokens, and which of them the assistant said
formats.py         instruction rows and labelled rows, read as conversations
batching.py        documents packed into rows, conversations padded into batches
masking.py         the corruption of masked language modelling
=================  ==============================================================
"""
