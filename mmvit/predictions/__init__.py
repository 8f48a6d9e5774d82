"""What models predict, as values and drawings, and compared with the truth."""
