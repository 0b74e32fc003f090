"""Rolls a service out with a guard: builds, verifies, shifts traffic, watches, and brings it back."""
