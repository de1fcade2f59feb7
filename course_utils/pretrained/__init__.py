"""Finished models: found, loaded and saved by name, shipped ones and the learner's own."""
