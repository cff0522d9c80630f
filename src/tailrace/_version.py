"""The version, for modules that must not load the facade."""

__version__ = "0.1.0"
