"""Functions that compare, measure and draw networks and trained models."""
