#!/usr/bin/env bash
# Trains on a GPU that is there for minutes: parts in, parts out, in one command that ends by itself.
#   train.sh PARTS OUT SECONDS
# PARTS: made by pack.sh of inputs.npz, base/ and teachers/ (a directory for each). OUT gets log.jsonl and the weights
# in fp16, in parts of at most 15 MiB. The same command with the same WORK resumes a run that was cut off.
set -euo pipefail
parts=$1 out=$2 seconds=$3
here=$(cd "$(dirname "$0")/../.." && pwd)
export PYTHONPATH=$here PYTHONUNBUFFERED=1
work=${WORK:-$(mktemp -d)}
began=$SECONDS
test -d "$work/in" || "$here/benchmarks/gpu/pack.sh" --back "$parts" "$work/in"
teachers=()
for teacher in "$work"/in/teachers/*/; do teachers+=(--teacher "$teacher"); done
python3 -m crossrank.train.packed "$work/in/inputs.npz" --base "$work/in/base" "${teachers[@]}" --out "$work/run" \
    --time-limit "$((seconds - (SECONDS - began) - 20))"
mkdir -p "$out" "$work/result"
cp "$work/run/log.jsonl" "$out/"
cp "$work"/run/{model,exits}.safetensors "$work/in/base/config.json" "$work/result/"
"$here/benchmarks/gpu/pack.sh" "$out/weights" 15 "$work/result"
