"""The demo: a phantom cohort with known ground truth, and the comparison of a run with it."""
