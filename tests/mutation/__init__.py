"""Mutation: the decisions that must not change unnoticed, changed one at a time. `python -m tests.mutation`."""
