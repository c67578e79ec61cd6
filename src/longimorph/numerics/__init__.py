"""Class-weighted metamorphosis: shooting, its adjoint, the optimiser and the split. Needs only torch."""
