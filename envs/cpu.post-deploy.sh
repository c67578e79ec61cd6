# Run by Snakemake in the environment that it has just made (--sdm conda): puts longimorph itself into it.
# Of longimorph 0.1.0: another version gets an environment of its own.
set -eu
python -I "${LONGIMORPH_PACKAGE:?is set by the workflow: run Snakemake, not this script}/orchestration/deploy.py"
