"""The verbs `mmvit weights ...`."""
