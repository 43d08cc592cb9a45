#!/usr/bin/env bash
# Installs what is missing, builds and runs all tests. Usage: tests/run.sh [release|debug|checked] [-DOPTION=VALUE …]
set -euo pipefail
cd "$(dirname "$0")/.."

preset=release
case "${1:-}" in release | debug | checked)
  preset=$1
  shift
  ;;
esac

.ci/install
cmake --preset "$preset" "$@"
cmake --build --preset "$preset"
ctest --preset "$preset"
