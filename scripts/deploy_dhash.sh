#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/..; ROLLOUT_TOML=${ROLLOUT_TOML:-$root/rollout.toml} exec "$root/.venv/bin/rollout" deploy "$@"
