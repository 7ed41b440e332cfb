#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time, one after the other.
set -euo pipefail
time=${1:-10s}
cd "$(dirname "$0")/.."
mkdir -p _out
count=0
while IFS=: read -r file name; do
  count=$((count + 1))
  echo "fuzz: $name in ./$(dirname "$file") for $time"
  go test "./$(dirname "$file")" -run '^$' -fuzz "^$name\$" -fuzztime "$time" >_out/fuzz.log 2>&1 || {
    cat _out/fuzz.log
    exit 1
  }
done < <(grep -rHoE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' cmd pkg | sed 's/func //')
[ "$count" -gt 0 ] || { echo "fuzz: no target found"; exit 1; }
echo "fuzz: $count targets passed"
