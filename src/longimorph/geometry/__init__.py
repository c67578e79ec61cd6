"""Where voxels lie, how scans are resampled, and rigid motions: physical millimetres and world axes."""
