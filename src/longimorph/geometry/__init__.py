"""Voxel grids, resampling and rigid motions, in physical millimetres and world axes."""
