"""What the commands do: each is a function that takes a pipeline and returns data or raises `TailraceError`."""
