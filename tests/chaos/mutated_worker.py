"""A worker with a defect that the simulation finds as well: a run must find it, too."""

from __future__ import annotations

import os

import simulation.repeating_mutations  # noqa: F401 - adds its mutations
from simulation.mutations import MUTATIONS
from support import clocked_worker

MUTATION = "TAILRACE_TEST_MUTATION"
"""The environment variable that names the defect."""
NAMES = sorted(MUTATIONS)

if __name__ == "__main__":
    with MUTATIONS[os.environ[MUTATION]]():
        clocked_worker.main()
