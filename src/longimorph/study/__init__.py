"""Input of a study: configuration, cohort, classes and control matrix, and all checks of them."""
