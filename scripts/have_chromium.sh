#!/bin/sh
# Whether this machine has a Chromium, installing Debian's where that can be done without asking.
set -eu
found() { for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
    [ -n "$name" ] && command -v "$name" >/dev/null && return 0; done; return 1; }
found && exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core
fi
found || { echo "make: no Chromium. apt install chromium, or say which: CHROMIUM=/path make test-system" >&2; exit 1; }
