"""Shared utilities: configs, images, versions, installation."""
