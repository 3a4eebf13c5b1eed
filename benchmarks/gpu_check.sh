#!/usr/bin/env bash
# All that needs a GPU, one after the other: gpu_check.sh FOLDER. Writes test.log, bench.log and bench.json there.
# Needs pytest and hypothesis beside what docs/training.md names. About eight minutes on an H100; TESTS=0 or BENCH=0 leaves a part out, TEST_ARGS and BENCH_ARGS add options.
set -u
out=${1:?folder for the results}
mkdir -p "$out"
cd "$(dirname "$0")/.." || exit 2
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
failed=0
if [ "${TESTS:-1}" = 1 ]; then
  several=$(python3 -c 'import xdist' 2>/dev/null && echo "-n ${JOBS:-14}")
  # The project's own settings of pytest name plugins that a machine with a GPU may lack.
  # shellcheck disable=SC2086
  TORCHINDUCTOR_COMPILE_THREADS=1 timeout "${TEST_SECONDS:-270}" python3 -m pytest -c /dev/null --rootdir . \
    --import-mode=importlib -q -p no:cacheprovider \
    -m gpu $several --durations=12 --show-capture=no tests/training/test_gpu.py ${TEST_ARGS:-} \
    > "$out/test.log" 2>&1 || failed=1
  tail -n 60 "$out/test.log"
fi
if [ "${BENCH:-1}" = 1 ]; then
  TORCHINDUCTOR_COMPILE_THREADS=12 timeout "${BENCH_SECONDS:-320}" python3 -m benchmarks.gpu_training \
    --seconds "${BENCH_ROWS_SECONDS:-240}" --json "$out/bench.json" ${BENCH_ARGS:-} > "$out/bench.log" 2>&1 || failed=1
  tail -n 60 "$out/bench.log"
fi
exit $failed
