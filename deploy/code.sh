#!/bin/sh
# Install talkhead itself, stamped: code.sh SOURCE ENVIRONMENT [STAMP]
# SOURCE is a checkout, or src, pyproject.toml, README.md, LICENSE and NOTICE of one; it is left as
# it is. STAMP, as 20261128-0b3e065, becomes the version's local part, which every answer carries.
set -eu
source=$1 environment=$2 stamp=${3:-}
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
for part in src pyproject.toml README.md LICENSE NOTICE; do cp -R "$source/$part" "$build/"; done
if [ -n "$stamp" ]; then
  local=$(printf %s "$stamp" | tr -c 'A-Za-z0-9' .)
  sed -i -E "s/^((__)?version(__)?) = \"([0-9.]+)\"/\1 = \"\4+$local\"/" \
    "$build/pyproject.toml" "$build/src/talkhead/__init__.py"
fi
"$environment/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir \
  --no-deps --no-index --no-build-isolation "$build"
"$environment/bin/pip" check
shown=$("$environment/bin/talkhead" --version)
case $shown in
  *"${local:-}") echo "$shown" ;;
  *) echo "stamped $local, but it says $shown" >&2; exit 1 ;;
esac
