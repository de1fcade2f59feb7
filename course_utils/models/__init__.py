"""Models: the decoder by hand, its weights on disk and in transformers, and generation."""
