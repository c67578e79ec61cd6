"""One module per workflow rule, with one function of the same name: it takes and returns paths.

Only this package combines file access with numerics. Every function writes its declared outputs also on an
expected failure, together with the reason, so that one bad scan never blocks the cohort. It first removes the
results of an earlier success. Import the modules individually: only the registration imports torch. Shared
code is in ``visits`` (visits and their classes), ``visit_maps`` (the two visits of a pair in memory) and
``evidence`` (the basis of the verdict on a pair).
"""
