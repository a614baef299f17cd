#!/bin/sh
# Run in a bare Debian what the image's RUN steps call, then the worker from what they installed:
# deploy/prove.sh ROOT   (as root; needs debootstrap, some 8 GB, Debian's mirror and a package index)
# ROOT is a folder that is not there yet, or one that this script left. What HEAD holds is proved.
# It does not prove Docker: FROM, COPY, caches, secrets, the base image itself; nor any GPU.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
root=$1
if [ "${2:-}" != inside ]; then
  [ -d "$root" ] || debootstrap --variant=minbase --include=ca-certificates bookworm "$root"
  rm -rf "$root/tmp/talkhead"
  mkdir -p "$root/tmp/talkhead"
  git -C "$here" archive HEAD | tar -x -C "$root/tmp/talkhead"
  git -C "$here" show -s --format=%cd-%h --date=format:%Y%m%d --abbrev=7 HEAD >"$root/tmp/stamp"
  cp /etc/resolv.conf "$root/etc/"
  cp /etc/ssl/certs/ca-certificates.crt "$root/tmp/certificates"
  # mounts of a space of its own: they end with it
  exec unshare --mount --pid --fork "$0" "$root" inside
fi
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
bare() { env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin PIP_CERT=/tmp/certificates \
  PIP_INDEX_URL="${PIP_INDEX_URL:-https://pypi.org/simple}" /usr/sbin/chroot "$root" "$@"; }
worker() { env -i HOME=/home/talkhead PATH=/opt/talkhead/bin:/usr/bin:/bin LANG=C.UTF-8 \
  TALKHEAD_WEIGHTS=/models /usr/sbin/chroot --userspec=talkhead:talkhead "$root" "$@"; }
step() { echo; echo "== $1 ($(date +%T))"; shift; "$@"; }

if [ ! -d "$root/home/talkhead" ]; then step system.sh bare /tmp/talkhead/deploy/system.sh; fi
rm -rf "$root/opt/talkhead"
step dependencies.sh bare /tmp/talkhead/deploy/dependencies.sh \
  /tmp/talkhead/deploy/worker.lock /opt/talkhead
step code.sh bare /tmp/talkhead/deploy/code.sh /tmp/talkhead /opt/talkhead "$(cat "$root/tmp/stamp")"
step bake.sh bare /tmp/talkhead/deploy/bake.sh "" /cache /models
step sizes du -shx "$root/opt/talkhead" "$root/usr"
step "what imports" worker python -c 'import torch, diffusers, transformers, runpod, boto3, fa3_fwd; print(torch.__version__, torch.version.cuda)'
step doctor worker sh -c 'cd ~ && talkhead doctor || true'
step "self test, as the Hub sends it" worker sh -c \
  'cd ~ && echo "{\"action\": \"health\", \"self_test\": true}" | talkhead worker --test-input - 2>/dev/null'
step "the emulated endpoint" worker sh /tmp/talkhead/deploy/served.sh
