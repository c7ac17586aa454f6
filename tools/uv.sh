#!/bin/sh
# Runs uv, of the version pinned here, installing it into .tools/ first where it is missing.
# Called by the Makefile. Never touches the system's Python.
set -eu
version=0.13.9
cd "$(dirname "$0")/.."
uv=.tools/uv-$version/bin/uv

find_python() {
    for name in python3 python3.13 python3.12 python3.11 python3.14; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    echo "Python 3.11 or later is missing. Install it, e.g. on Debian or Ubuntu:" >&2
    echo "  sudo apt-get install python3 python3-venv" >&2
    exit 3
}

if [ ! -x "$uv" ]; then
    python=$(find_python)
    rm -rf .tools/new && mkdir -p .tools
    if ! "$python" -m venv .tools/new >.tools/venv.log 2>&1; then
        cat .tools/venv.log >&2
        echo "Python's venv module doesn't work here. On Debian or Ubuntu install it with:" >&2
        echo "  sudo apt-get install python3-venv" >&2
        exit 3
    fi
    if ! .tools/new/bin/python -m pip install --quiet --disable-pip-version-check "uv==$version"; then
        echo "uv $version can't be fetched. Set-up needs a package index: network access, or" >&2
        echo "PIP_INDEX_URL and UV_INDEX_URL naming a mirror." >&2
        exit 3
    fi
    # Renamed only when complete, so that an interrupted install is done again. uv is a native
    # program: unlike a script it does not care where its venv lies.
    rm -rf ".tools/uv-$version" && mv .tools/new ".tools/uv-$version"
fi

if [ -z "${UV_PYTHON:-}" ] && [ ! -d .venv ]; then
    UV_PYTHON=$(find_python)
    export UV_PYTHON
fi
exec "$uv" "$@"
