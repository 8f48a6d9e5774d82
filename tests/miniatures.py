"""The former name of tiny_configs.py, until no test asks for it."""
from tiny_configs import TINY_CONFIGS as MINIATURES  # noqa: F401
