"""One module per rule of the workflow, with one function of the same name: paths in, paths out.

Only here do files and numerics meet. Every function writes its declared outputs also on an expected failure,
with the reason inside, so that one bad scan never holds up the cohort. It removes results of an earlier
success first. Import the modules one by one: only a registration pays for torch. What several stages share is
in ``visits`` (visits and their classes), ``visit_maps`` (the two visits of a pair in memory) and ``evidence``
(what the verdict on a pair is made from).
"""
