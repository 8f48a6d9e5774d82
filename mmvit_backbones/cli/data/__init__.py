"""The verbs `mmvit data ...`."""
