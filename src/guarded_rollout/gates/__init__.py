"""Samples and a gate in, a verdict out. Pure: time is in the samples."""
