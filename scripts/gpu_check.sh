#!/usr/bin/env bash
# Checks this package on an NVIDIA GPU in under five minutes, without the network: the layer on cuDNN against NumPy, a
# training step beside the stock layers, mixed precision, an export that a CPU loads, memory.
# Usage: gpu_check.sh [--allow-cpu]    (--allow-cpu: run the checks on the CPU where there is no GPU, to test them)
# Exit codes: 0 all passed, 1 a check failed, 2 wrong usage, 3 no GPU, 124 over five minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
say() { printf 'gpu_check: %s\n' "$*" >&2; }
allow_cpu=false
case "$*" in
  '') ;;
  --allow-cpu) allow_cpu=true ;;
  *) say "expected no argument or --allow-cpu; received $*"; exit 2 ;;
esac
python=.venv/bin/python
[ -x $python ] || { say "$python is missing: run make setup"; exit 2; }

export TF_CPP_MIN_LOG_LEVEL=2 NOISY_GRU_GPU_CHECK=gpu
seconds=300
if ! $python -c 'import sys, tensorflow as tf; sys.exit(not tf.config.list_physical_devices("GPU"))' 2>/dev/null; then
  say "no GPU: TensorFlow sees none. Its CUDA libraries come with pip install -r requirements/gpu.txt; nvidia-smi shows the driver."
  $allow_cpu || { say "to run the checks on the CPU: --allow-cpu"; exit 3; }
  NOISY_GRU_GPU_CHECK=cpu
  seconds=3600 # a busy CPU is no measure
fi
rc=0
timeout $seconds $python -m pytest -q -s -rs -p no:cacheprovider tests/trainer/gpu/test_gpu.py || rc=$?
case $rc in
  0) say "all checks passed on the $NOISY_GRU_GPU_CHECK" ;;
  124) say "not done after $seconds s" ;;
  *) say "checks failed"; rc=1 ;;
esac
exit $rc
