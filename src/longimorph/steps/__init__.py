"""One module per rule, one function in each: paths in, paths out. Only here do files and numerics meet.

Every function writes its declared outputs also on an expected failure, with the reason inside, so that one
bad scan never holds up the cohort; results of an earlier success are removed first. The modules are imported
one by one, so that only a registration pays for torch.
"""
