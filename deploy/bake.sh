#!/bin/sh
# Put sets of weights into the image: bake.sh "SET …" CACHE FOLDER; nothing where none is named.
# CACHE outlives a build, so that a change of code pulls nothing again.
set -eu
sets=$1 cache=$2 folder=$3
[ -n "$sets" ] || exit 0
if [ -r /run/secrets/hf_token ]; then
  HF_TOKEN=$(cat /run/secrets/hf_token)
  export HF_TOKEN
fi
# shellcheck disable=SC2086  # the names are words
talkhead weights pull $sets --into "$cache"
cp -a "$cache/." "$folder/"
# shellcheck disable=SC2086
TALKHEAD_WEIGHTS=$folder talkhead weights verify $sets
