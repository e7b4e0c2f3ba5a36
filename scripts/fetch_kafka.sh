#!/usr/bin/env bash
# Fetches what `make test-kafka` runs on into .build/kafka: a Kafka broker's jars (75 MB), from a Maven repository. Needs
# Java 17 and Maven; does nothing when they are there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
fail() { printf 'fetch_kafka: error: %s\n' "$*" >&2; exit 1; }
folder=.build/kafka
[ -d $folder ] && exit 0
for tool in java mvn; do
  command -v $tool >/dev/null || fail "$tool is missing. On Debian: apt-get install openjdk-17-jdk-headless maven"
done
mkdir -p .build
work=$(mktemp -d .build/.kafka.XXXXXX)
trap 'rm -rf "$work"' EXIT
cp scripts/kafka/pom.xml "$work"
mvn --batch-mode --quiet -f "$work/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=jars
mv "$work/jars" $folder
