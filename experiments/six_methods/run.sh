#!/usr/bin/env bash
# Six methods on real images, own against residual and pretrained features; see README.md.
#   SHARED=<folder with data/ and weights/> OUT=<folder for runs> bash experiments/six_methods/run.sh SEED [PRODUCT ...]
# Start it again after an interruption: what is recorded is skipped. Seeds may run side by side.
set -euo pipefail
cd "$(dirname "$0")/../.."
seed=$1; shift
[ $# -gt 0 ] || set -- cookie hazelnut_toy magnetic_tile bottle
python=${PYTHON:-.venv/bin/python}
labelled=$SHARED/data/labelled
# Fewer epochs than even the quick variants have, to fit two cores and an hour.
quick=()
[[ ${METHODS:-all_quick} =~ all|uniad ]] && quick+=(method.uniad.epochs=20)
[[ ${METHODS:-all_quick} =~ all|glass ]] && quick+=(method.glass.epochs=16)
backbone=(backbone=mobilenetv2 "backbone.weights=$SHARED/weights/mobilenetv2_100.safetensors"
          'backbone.levels=[2,3,4]')

for target in "$@"; do
  # The projector: pretrained on the labelled products other than the tested one, 80 steps of 16
  # images dealt into five "epochs", the learning rate falling after the third and fourth.
  others=$(printf '%s\n' cookie hazelnut_toy magnetic_tile | grep -vx "$target" | paste -sd,)
  projector=$OUT/projectors/${target}_$seed
  [ -e "$projector/done" ] || "$python" -m adpt.train "${backbone[@]}" model=reference_scale \
    model.projector.num_references=256 model.optimizer.lr=1e-3 model.centre_images=10 \
    'model.scheduler.milestones=[3,4]' references.pool_size=9 trainer=cpu trainer.max_epochs=5 \
    trainer.limit_train_batches=16 data=mixed data.num_workers=1 data.batch_size=16 \
    +data@data.sets.labelled=folder "data.sets.labelled.root=$labelled" \
    "data.sets.labelled.classes=[$others]" "seed=$seed" "hydra.run.dir=$projector" \
    callbacks.progress=null
  touch "$projector/done"

  data=(data=folder "data.root=$labelled" "data.classes=[$target]")
  [ "$target" = bottle ] && data=(data=mvtec "data.root=$SHARED/data/mvtec" 'data.classes=[bottle]')
  "$python" -m adpt.evaluate "${backbone[@]}" "${data[@]}" data.num_workers=0 \
    "method=${METHODS:-all_quick}" "${quick[@]}" checks=4 "projector=$projector/projector.safetensors" \
    "seed=$seed" "heatmaps=$([ "$seed" = 0 ] && echo 4 || echo 0)" \
    "hydra.run.dir=$OUT/scores/${target}_$seed"
done
