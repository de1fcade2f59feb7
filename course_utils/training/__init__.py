"""Training: the one loop, its objectives, schedules and checkpoints, the model shelf, and the arithmetic of FLOPs."""
