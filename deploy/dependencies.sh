#!/bin/sh
# Install what the lock says into a new environment: dependencies.sh LOCK ENVIRONMENT
# Every file has to have the digest of the lock, wherever pip is told to get it from.
set -eu
lock=$1 environment=$2
python3 -c 'import sys; assert sys.version_info[:2] == (3, 11), sys.version'
python3 -m venv "$environment"
"$environment/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir \
  --no-deps --require-hashes --only-binary :all: -r "$lock"
"$environment/bin/pip" check
