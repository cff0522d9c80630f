"""Carries out what the protocol decides: threads, sockets, clocks and randomness live here."""
