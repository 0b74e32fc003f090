"""Decisions that must not change unnoticed, changed in one place at a time. `python -m tests.mutation`."""
