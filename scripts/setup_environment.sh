#!/usr/bin/env bash
# Makes .venv: the locked packages, this package (editable), bytecode, and the links the type checker needs.
# A second run with nothing changed does nothing. Environment: NOISY_GRU_PYTHON names the interpreter to use.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VENV=.venv
readonly STAMP=$VENV/.setup-stamp
readonly NEEDED_GLIBC=2.38

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }
readonly SUPPORTED='Supported: Linux on x86_64 with Python 3.11, 3.12 or 3.13. Ubuntu 24.04 and Debian 13 work as they are; Debian 12 and Ubuntu 22.04 work with a private copy of the next release'"'"'s C library, which this script sets up.'

version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

fingerprint() { cat requirements/bootstrap.txt requirements/dev.txt requirements/requirements.in setup.py pyproject.toml scripts/*.sh | sha256sum | cut -d' ' -f1; }

if [ -x $VENV/bin/python ] && [ -f $STAMP ] && [ "$(cat $STAMP)" = "$(fingerprint)" ]; then
  exit 0
fi
started=$SECONDS

# --- What kind of machine is this? -------------------------------------------------------------------------------
[ "$(uname -s)" = Linux ] || fail "this is $(uname -s); TFX publishes wheels for Linux only. $SUPPORTED"
[ "$(uname -m)" = x86_64 ] || fail "this is a $(uname -m) machine; TFX publishes wheels for x86_64 only. $SUPPORTED"
glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | awk '{print $2}') || true
[ -n "${glibc:-}" ] || fail "no GNU C library found (musl?); TFX's wheels need glibc. $SUPPORTED"

python=
candidates="${NOISY_GRU_PYTHON:-} python3.11 python3.12 python3.13 python3"
[ -n "${NOISY_GRU_PYTHON:-}" ] && candidates=$NOISY_GRU_PYTHON
for candidate in $candidates $(ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[123].*/bin/python 2>/dev/null || true); do
  if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || fail "no Python 3.11, 3.12 or 3.13 found (looked for: $candidates). Install one, or name one: NOISY_GRU_PYTHON=/path/to/python make setup. $SUPPORTED"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
say "Python $version ($("$python" -c 'import sys; print(sys.executable)')), glibc $glibc"

# pyfarmhash, which TFX needs, has no wheel: it is compiled here.
command -v g++ >/dev/null || command -v c++ >/dev/null || fail "no C++ compiler; pyfarmhash, which TFX needs, is compiled from source. On Debian or Ubuntu: apt-get install g++"
"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' \
  || fail "Python's headers (Python.h) are missing; pyfarmhash is compiled from source. On Debian or Ubuntu: apt-get install python$version-dev"
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail "Python's venv module is missing. On Debian or Ubuntu: apt-get install python$version-venv"

# --- Packages ----------------------------------------------------------------------------------------------------
rm -rf $VENV
"$python" -m venv $VENV
say "installing the installer"
$VENV/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
say "installing the locked packages (about 1 GB on disk after the download)"
# The wheels that need a newer glibc are asked for by name of the platform; below, an old glibc is given a newer one.
# Bytecode now, because containers often forbid writing it later, and importing TFX without it takes three times as long.
UV_LINK_MODE=${UV_LINK_MODE:-copy} $VENV/bin/uv pip install --quiet --python $VENV/bin/python --python-platform x86_64-manylinux_2_39 \
  --require-hashes --compile-bytecode -r requirements/dev.txt
$VENV/bin/uv pip install --quiet --python $VENV/bin/python --no-deps --no-build-isolation --editable .

# --- An old glibc ------------------------------------------------------------------------------------------------
if ! version_at_least "$glibc" "$NEEDED_GLIBC"; then
  say "glibc $glibc is older than the $NEEDED_GLIBC that ml-metadata's and TFDV's wheels need"
  bash scripts/use_newer_glibc.sh "$VENV"
fi

# --- Type checker ------------------------------------------------------------------------------------------------
# The rooms lie at the top of the tree but are imported as noisy_gru.<room>; pyright follows links, not setup.py.
mkdir -p .typing/noisy_gru
for room in schema trainer components pipeline serving kubeflow; do
  ln -sfn "../../$room" ".typing/noisy_gru/$room"
done

$VENV/bin/python - <<'PY' || fail "the packages are installed but do not load; the lines above say which library. $SUPPORTED"
import ml_metadata  # first the one that needs the newest C library
import pyarrow
PY
fingerprint > $STAMP
say "done in $((SECONDS - started)) s; the environment is $VENV"
