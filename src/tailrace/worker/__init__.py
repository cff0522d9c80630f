"""The engine: the threads, the clock and the observers of one worker."""
