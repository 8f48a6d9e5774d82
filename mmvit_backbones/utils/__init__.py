"""Configs, images, measuring and the environment: what the other rooms share."""
