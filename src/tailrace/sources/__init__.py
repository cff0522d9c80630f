"""Where changes come from, each behind the reader contract of core.ports."""
