#!/bin/sh
# The one step of Dockerfile and apptainer.def: longimorph from the sources beside this file, with the pinned
# versions of constraints.txt, in a bare Debian 12. PIP_INDEX_URL and other PIP_ variables are heeded.
set -eu
home=/opt/longimorph
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends ca-certificates python3 python3-venv
python3 -m venv "$home"
# A wheel, so that nothing of the sources is needed afterwards.
"$home/bin/pip" install --quiet --no-cache-dir --disable-pip-version-check \
  -c "$home/source/constraints.txt" "$home/source[slurm,demo]"
"$home/bin/longimorph" --version
rm -rf "$home/source" /var/lib/apt/lists/*
