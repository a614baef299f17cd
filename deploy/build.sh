#!/bin/sh
# Build the image of the commit that is checked out: deploy/build.sh [--dry-run] [--push] REPOSITORY
# REPOSITORY is as registry.example/you/talkhead. The tag is the commit's date and hash, as
# 20261128-0b3e065, with the sets of BAKE behind it. Uncommitted changes are refused: the image holds
# what git holds. BASE_DIGEST pins the base; unset, it is asked of the registry.
set -eu
cd "$(dirname "$0")/.."
dry='' push=--load
while :; do
  case ${1:-} in
    --dry-run) dry=yes ;;
    --push) push=--push ;;
    *) break ;;
  esac
  shift
done
[ $# = 1 ] || { echo "usage: deploy/build.sh [--dry-run] [--push] REPOSITORY" >&2; exit 2; }
if [ -n "$(git status --porcelain)" ]; then
  echo "there are changes that no commit holds: commit them, so that the tag says what is inside" >&2
  exit 1
fi
stamp=$(git show -s --format=%cd-%h --date=format:%Y%m%d --abbrev=7 HEAD)
tag=$stamp$(printf %s "${BAKE:+-$BAKE}" | tr ' ' -)
base=$(sed -n 's/^ARG BASE=//p' deploy/Dockerfile)
if [ -n "$dry" ]; then
  digest=${BASE_DIGEST:-DIGEST}
else
  digest=${BASE_DIGEST:-$(docker buildx imagetools inspect "$base" --format '{{.Manifest.Digest}}')}
fi
set -- docker buildx build --platform linux/amd64 --file deploy/Dockerfile --tag "$1:$tag" "$push" \
  --build-arg "BASE_DIGEST=$digest" --build-arg "STAMP=$stamp" --build-arg "BAKE=${BAKE:-}"
if [ -n "${HF_TOKEN:-}" ]; then set -- "$@" --secret id=hf_token,env=HF_TOKEN; fi
if [ -n "$dry" ]; then
  echo "git archive HEAD | $* -"
else
  git archive HEAD | "$@" -
  echo "${tag}"
fi
