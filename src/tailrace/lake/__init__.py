"""The data lake: the changes of topics as columns in files, which tell how far they reach."""
