#!/bin/sh
# What the image needs of Debian, and the user it runs as. As root, in the base image or a bare root.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# g++: torch.compile and Triton build small programs on the worker, when a network first runs
set -- ca-certificates g++
# Debian's own Python (a bare root, not the base image) keeps its parts in packages of their own
if [ "$(command -v python3 || echo none)" != /usr/local/bin/python3 ]; then
  set -- "$@" python3 python3-dev python3-venv
fi
apt-get install -qq -y --no-install-recommends "$@" >/dev/null
rm -rf /var/lib/apt/lists/*
useradd --uid 10001 --create-home --shell /usr/sbin/nologin talkhead
install -d -o talkhead -g talkhead /models
