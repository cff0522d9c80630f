"""Snapshots: the present items of tables, published beside their changes."""
