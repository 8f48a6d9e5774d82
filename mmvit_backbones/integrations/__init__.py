"""Backbones with the interfaces of other libraries. Import the module of the library that you have."""
