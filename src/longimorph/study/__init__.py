"""A study's input: configuration, cohort, classes and control matrix, and every check of them."""
