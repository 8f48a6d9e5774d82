"""Adapters for other libraries. Import the module of your library; this package imports none."""
