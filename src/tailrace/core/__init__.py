"""The protocol, pure: no I/O, clock, thread or randomness. Everything here runs in simulated time."""
