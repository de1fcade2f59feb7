"""Exercises that answer: the decorator, the register, hints, comparisons, and the sandbox that an attempt runs in."""
