"""The verbs as plan, run and report: the public Python API. Ops never print, read the environment or exit."""
