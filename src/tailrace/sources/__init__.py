"""Where changes come from, each kind in a folder of its own behind the contract of core.ports."""
