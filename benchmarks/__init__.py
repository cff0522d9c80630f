"""How fast Tailrace is, measured beside the usual code in the same run: `make bench`."""
