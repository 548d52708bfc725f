#!/usr/bin/env bash
# Pretrain on drawn products in float32 and in bf16-mixed and evaluate on four real ones; see README.md.
#   SHARED=<folder with data/ and weights/> OUT=<folder for runs> bash experiments/precision/pretraining.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
for seed in 0 1; do
  for precision in 32-true bf16-mixed; do
    OUT=$OUT/$precision PRECISION=$precision bash experiments/real_small/run.sh drawn "$seed"
  done
done
"${PYTHON:-.venv/bin/python}" experiments/precision/pretraining.py "$OUT"
