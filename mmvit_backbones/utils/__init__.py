"""Shared utilities: configs, images, measuring, installation."""
