"""Strategies for ``FlexibleRunner``; each module is imported by the configs that name its strategy."""
