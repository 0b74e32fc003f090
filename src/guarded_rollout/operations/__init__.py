"""What operators do beside rollouts: validation before a merge, maintenance, checks of the logging."""
