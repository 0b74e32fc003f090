#!/bin/sh
# make_venv.sh PYTHON LOCK: .venv with the locked packages and this project, editable.
# Needs Python 3.11 or later; brings its own uv.
set -eu
python=$1 lock=$2

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "make: $python is missing or older than 3.11. Install Python 3.11 or later, or say which: make install PYTHON=python3.12" >&2
    exit 1
}

if [ ! -x .venv/bin/python ]; then
    # Debian splits ensurepip off into python3-venv; pip alone will do.
    "$python" -m venv .venv >/dev/null 2>&1 || {
        rm -rf .venv
        "$python" -m venv --without-pip .venv && "$python" -m pip --version >/dev/null 2>&1 || {
            rm -rf .venv
            echo "make: $python has neither venv nor pip. On Debian and Ubuntu: apt install python3-venv" >&2
            exit 1
        }
    }
fi

if [ ! -x .venv/bin/uv ]; then
    # uv's own line of the lock: its version and hashes.
    awk '/^[a-z]/ {mine = /^uv==/} mine' "$lock" > .venv/uv.txt
    if .venv/bin/python -m pip --version >/dev/null 2>&1; then
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
    else
        "$python" -m pip --python .venv/bin/python install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
    fi
fi

VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip install --quiet --compile-bytecode --require-hashes -r "$lock"
VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip install --quiet --no-deps --editable .
