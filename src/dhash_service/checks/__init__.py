"""Checks of a running service, asked from outside over its HTTP API."""
