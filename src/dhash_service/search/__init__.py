"""Exact neighbours of a fingerprint, and what keeps them in step with the store."""
