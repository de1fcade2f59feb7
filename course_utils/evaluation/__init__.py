"""Measuring models: probes of what a model holds, loss against the entropy floor, instructions followed."""
