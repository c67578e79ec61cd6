"""Class-weighted metamorphosis: shooting, its adjoint, the optimiser and the attribution. Depends on torch
only.
"""
