"""Known-truth pairs in memory and on real anatomies, for the benchmarks."""
