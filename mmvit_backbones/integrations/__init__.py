"""Backbones as other libraries want them. Import the module of the library that you have; this one imports none."""
