"""Backbones with the interfaces of other libraries; import the module for your library."""
