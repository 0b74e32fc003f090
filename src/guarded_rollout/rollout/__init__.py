"""Rollouts and rollbacks: the engine, its steps, and the window in which a release is watched."""
