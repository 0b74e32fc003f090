"""Operators' tasks beside rollouts: validation before a merge, maintenance, checks of the logging."""
