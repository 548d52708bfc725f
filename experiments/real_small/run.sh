#!/usr/bin/env bash
# Pretrain at small scale and evaluate on products that pretraining has not seen; see README.md.
#   SHARED=<folder with data/ and weights/> OUT=<folder for runs> bash experiments/real_small/run.sh RECIPE [SEED]
# RECIPE: drawn (drawn products only), real (the labelled products but the tested one), both.
# PRECISION=bf16-mixed trains in that one; see experiments/precision.
set -euo pipefail
cd "$(dirname "$0")/../.."
recipe=$1 seed=${2:-0} python=${PYTHON:-.venv/bin/python}
labelled=$SHARED/data/labelled
backbone=(backbone=mobilenetv2 "backbone.weights=$SHARED/weights/mobilenetv2_100.safetensors"
          'backbone.levels=[2,3,4]')
# Steps of 16 images, dealt into five "epochs", the learning rate falling after the third and fourth:
# 150, and 80 where there are only the few labelled images.
training=(model=reference_scale model.projector.num_references=256 model.optimizer.lr=1e-3
          model.centre_images=10 references.pool_size=9 trainer=cpu trainer.max_epochs=5
          'model.scheduler.milestones=[3,4]' data.num_workers=1
          data.batch_size=16 "seed=$seed" "trainer.precision=${PRECISION:-32-true}")
steps=30; [ "$recipe" = real ] && steps=16
training+=("trainer.limit_train_batches=$steps")
drawn=('+data@data.sets.drawn=procedural')

pretrain() {  # folder, the products of the labelled set to use, further options
  local folder=$1 classes=$2; shift 2
  [ -e "$folder/done" ] && return
  local real=('+data@data.sets.labelled=folder' "data.sets.labelled.root=$labelled"
              "data.sets.labelled.classes=[$classes]")
  [ -n "$classes" ] || real=()
  "$python" -m adpt.train "${backbone[@]}" "${training[@]}" data=mixed "${real[@]}" "$@" \
    "hydra.run.dir=$folder" callbacks.progress=null
  touch "$folder/done"
}

score() {  # folder, projector, data options
  local folder=$1 projector=$2; shift 2
  [ -e "$folder/done" ] && return
  "$python" -m adpt.evaluate "${backbone[@]}" "projector=$projector" "seed=$seed" \
    "hydra.run.dir=$folder" "$@"
  touch "$folder/done"
}

for target in bottle cookie hazelnut_toy magnetic_tile; do
  others=$(printf '%s\n' cookie hazelnut_toy magnetic_tile | grep -vx "$target" | paste -sd,)
  data=(data=folder "data.root=$labelled" "data.classes=[$target]")
  [ "$target" = bottle ] && data=(data=mvtec "data.root=$SHARED/data/mvtec" 'data.classes=[bottle]')
  case $recipe in
    drawn) run=$OUT/drawn_$seed; pretrain "$run" '' "${drawn[@]}" ;;
    real) run=$OUT/real_${target}_$seed; pretrain "$run" "$others" ;;
    both) run=$OUT/both_${target}_$seed; pretrain "$run" "$others" "${drawn[@]}" ;;
  esac
  # Own and residual features are the same for every recipe: they are scored once, with `drawn`.
  features='features=[pretrained]'
  [ "$recipe" = drawn ] && features='features=[own,residual,pretrained]'
  score "$OUT/${recipe}_${target}_$seed/scores" "$run/projector.safetensors" "${data[@]}" "$features"
done
