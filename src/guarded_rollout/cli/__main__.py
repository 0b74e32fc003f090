"""`python -m guarded_rollout.cli`."""

from guarded_rollout.cli import main

main()
