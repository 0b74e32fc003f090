"""Archives of a release, its configuration and its data: taken, verified, restored and pruned."""
