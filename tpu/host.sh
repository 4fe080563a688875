#!/usr/bin/env bash
# What every host of a slice or cluster runs, one process each:
#
#   host.sh WHEEL PROGRAM OUT [OPTION ...]
#
# installs cai-jax from WHEEL (with the extra that EXTRA names: tpu or cuda; none by default) and runs PROGRAM into OUT,
# a folder that all hosts share. Preempted (exit code 75) it goes on; any other end is its own.
# INSTALLED=1 takes the cai-jax that is on the PATH instead.
set -euo pipefail

usage="host.sh WHEEL PROGRAM OUT [OPTION ...]"
wheel=${1:?$usage} program=${2:?$usage} out=${3:?$usage}
shift 3

# Where the other hosts are. Without any of these variables JAX asks the TPU VM's metadata.
if [[ -n ${TPU_WORKER_HOSTNAMES:-} ]]; then # GKE, one slice
  IFS=, read -ra hosts <<<"$TPU_WORKER_HOSTNAMES"
  export JAX_COORDINATOR_ADDRESS=${hosts[0]}:${COORDINATOR_PORT:-8476}
  export JAX_NUM_PROCESSES=${#hosts[@]} JAX_PROCESS_ID=${TPU_WORKER_ID:?}
elif [[ -n ${SLURM_JOB_NODELIST:-} ]]; then # Slurm, one task a node
  # All are read: a pipe that is closed behind the first would end this script now and then.
  mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
  export JAX_COORDINATOR_ADDRESS=${hosts[0]}:${COORDINATOR_PORT:-8476}
  export JAX_NUM_PROCESSES=${SLURM_NTASKS:?} JAX_PROCESS_ID=${SLURM_PROCID:?}
fi

if [[ -z ${INSTALLED:-} ]]; then
  environment=${TMPDIR:-/tmp}/cai-jax
  python3 -m venv "$environment"
  "$environment/bin/pip" install --quiet "$wheel${EXTRA:+[$EXTRA]}"
  PATH=$environment/bin:$PATH
fi

# A signal reaches the run, which saves and exits with 75; then this ends too, instead of beginning anew.
told='' run=''
trap 'told=1; kill -TERM "$run" 2>/dev/null || true' TERM INT
while :; do
  cai-jax run "$program" --distributed --out "$out" "$@" &
  run=$!
  code=0
  wait "$run" || code=$?
  # A trapped signal ends `wait` before the run has ended.
  while kill -0 "$run" 2>/dev/null; do
    code=0
    wait "$run" || code=$?
  done
  if [[ $code -ne 75 || -n $told ]]; then
    exit "$code"
  fi
done
