#!/bin/sh
# The published table: makes it, and prints it beside the published numbers with the differences.
#   ADPT_DATA=/data sh experiments/published_table/run.sh [further words for adpt.evaluate]
set -eu
python -m adpt.evaluate -m +experiment=published_table "$@"
python -m adpt.report results=outputs/published_table protocol=paper \
    reported=experiments/main_table/reported.yaml
