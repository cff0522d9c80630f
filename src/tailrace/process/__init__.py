"""The process that a worker runs in: time, randomness, threads."""
