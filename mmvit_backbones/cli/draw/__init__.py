"""The verbs `mmvit draw ...`."""
