"""Utilities shared by the other subpackages."""
