"""`rollout ui`: the dashboard. It reads files, and what it does it does by running `rollout` itself."""
