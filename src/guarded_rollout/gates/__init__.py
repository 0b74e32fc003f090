"""Judges samples by quality gates. Pure: time is in the samples."""
