#!/usr/bin/env bash
# Fetches what `make test-flink` runs on into .build/flink: Flink's own jars (a Python package brings them, 230 MB), and
# Beam's job server for Flink, assembled by Maven (160 MB). Needs Java 17 and Maven; does nothing when both are there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
fail() { printf 'fetch_flink: error: %s\n' "$*" >&2; exit 1; }
folder=.build/flink
[ -f $folder/job-server.jar ] && [ -f $folder/flink/bin/bash-java-utils.jar ] && exit 0
for tool in java mvn tar; do
  command -v $tool >/dev/null || fail "$tool is missing. On Debian: apt-get install openjdk-17-jdk-headless maven"
done
mkdir -p $folder
work=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
if [ ! -f $folder/flink/bin/bash-java-utils.jar ]; then
  # A source package of 230 MB without code: only unpacked, never installed beside Beam, whose pins it doesn't share.
  .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: --require-hashes \
    -d "$work" -r scripts/flink/requirements.txt
  tar -xzf "$work"/apache*flink*libraries-*.tar.gz -C "$work" --strip-components=1
  rm -rf $folder/flink
  mv "$work/deps" $folder/flink
fi
if [ ! -f $folder/job-server.jar ]; then
  cp scripts/flink/pom.xml "$work"
  mvn --batch-mode --quiet -f "$work/pom.xml" package
  mv "$work/target/flink-job-server-1.jar" $folder/job-server.jar
fi
