"""Changes to records."""
