"""The demo: a phantom cohort with known truth, and the comparison of a run with it."""
