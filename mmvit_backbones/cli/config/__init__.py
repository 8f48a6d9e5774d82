"""The verbs `mmvit config ...`."""
