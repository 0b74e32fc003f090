"""Watches a rollout: polls its sources, lets the gates decide, acts on their verdicts."""
