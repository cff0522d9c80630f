"""Functions that tests run in sandboxes."""
