#!/usr/bin/env bash
# Installs what is missing, builds, trains a compact GPT with Aurora on this project's prose and prints a sample.
# Further flags go to train_gpt: demos/run.sh --data my.txt --max_iters 2000
set -euo pipefail
cd "$(dirname "$0")/.."

.ci/install
cmake --preset release >/dev/null
cmake --build --preset release --target train_gpt sample_gpt
exec build/release/demos/train_gpt --preset nano --optimizer aurora --max_iters 1000 --diagnose 250 "$@"
