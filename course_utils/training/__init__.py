"""Training: the one loop, its objectives, schedules and checkpoints, and the arithmetic of FLOPs."""
