"""What a rollout touches on this machine: releases, slots, processes, traffic."""
