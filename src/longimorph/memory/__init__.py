"""The memory model of a registration: prediction, measurement, refit, and the memory there is."""
