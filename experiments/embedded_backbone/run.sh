#!/usr/bin/env bash
# The embedded backbone against the random network it replaced and ImageNet weights; see README.md.
#   SHARED=<folder with data/ and weights/> OUT=<folder for runs> bash experiments/embedded_backbone/run.sh SEED [BACKBONE ...]
# Start it again after an interruption: what is recorded is skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$PWD/experiments/embedded_backbone"
seed=$1; shift
[ $# -gt 0 ] || set -- random embedded mobilenetv2
python=${PYTHON:-.venv/bin/python}

for backbone in "$@"; do
  # Strides 8, 16 and 16; MobileNetV2's are 8, 16 and 32.
  case $backbone in
    random) options=(backbone=embedded backbone._target_=random_network.build
                     backbone.name=random 'backbone.levels=[1,2,3]') ;;
    embedded) options=(backbone=embedded 'backbone.levels=[1,2,3]') ;;
    mobilenetv2) options=(backbone=mobilenetv2 'backbone.levels=[2,3,4]'
                          "backbone.weights=$SHARED/weights/mobilenetv2_100.safetensors") ;;
  esac
  for set in bottle labelled; do
    data=(data=folder "data.root=$SHARED/data/labelled")
    [ $set = bottle ] && data=(data=mvtec "data.root=$SHARED/data/mvtec" 'data.classes=[bottle]')
    # Eight training images a product, which each seed draws anew.
    "$python" -m adpt.evaluate "${options[@]}" "${data[@]}" data.num_workers=0 \
      few_shot=true shots=8 'features=[own,residual]' cache=null heatmaps=0 "seed=$seed" \
      "hydra.run.dir=$OUT/${backbone}_${set}_$seed"
  done
done
