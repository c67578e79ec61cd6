"""The memory model of a registration: prediction, measurement, refitting, and available memory."""
