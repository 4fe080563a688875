#!/usr/bin/env bash
# A TPU slice of Google Cloud as a queued resource, from nothing to a running program:
#
#   slice.sh create            asks for the slice, and waits until it is there
#   slice.sh run PROGRAM       copies the wheel, host.sh and PROGRAM to every host, mounts the bucket, and runs
#   slice.sh delete            gives the slice back
#
# NAME, ZONE, TYPE (v5litepod-16, v5p-128, v6e-16 …), RUNTIME (v2-alpha-tpuv5-lite …), BUCKET (without gs://) and WHEEL
# come from the environment. SPOT=1 asks for a cheaper slice that may be taken away; `run` again goes on where it was.
set -euo pipefail

: "${NAME:?}" "${ZONE:?}"
on_all() { gcloud compute tpus tpu-vm ssh "$NAME" --zone "$ZONE" --worker all --command "$1"; }
to_all() { gcloud compute tpus tpu-vm scp "$@" "$NAME:" --zone "$ZONE" --worker all; }

case ${1:-} in
create)
  gcloud compute tpus queued-resources create "$NAME" --node-id "$NAME" --zone "$ZONE" \
    --accelerator-type "${TYPE:?}" --runtime-version "${RUNTIME:?}" ${SPOT:+--spot}
  until [[ $(gcloud compute tpus queued-resources describe "$NAME" --zone "$ZONE" --format 'value(state.state)') == ACTIVE ]]; do
    sleep 30
  done
  ;;
run)
  program=${2:?slice.sh run PROGRAM}
  to_all "${WHEEL:?}" "$(dirname "$0")/host.sh" "$program"
  # Checkpoints are renamed as folders of a few files, which a mounted bucket does only if it is told to.
  on_all "mkdir -p runs && { mountpoint -q runs || gcsfuse --implicit-dirs --rename-dir-limit 10000 '${BUCKET:?}' runs; }"
  on_all "EXTRA=tpu bash host.sh '$(basename "$WHEEL")' '$(basename "$program")' runs"
  ;;
delete)
  gcloud compute tpus queued-resources delete "$NAME" --zone "$ZONE" --force --quiet
  ;;
*)
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
  exit 2
  ;;
esac
