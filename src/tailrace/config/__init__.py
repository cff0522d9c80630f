"""The pipeline file: reading, checking and explaining it."""
