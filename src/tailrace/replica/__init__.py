"""Copies of tables in another account or region: items from the topics, and how far they are, in the same target."""
