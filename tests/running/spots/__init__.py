"""A package with a scope of its own: its model finds the spot in an image."""
