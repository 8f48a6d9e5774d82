"""Makes ``python -m mmvit`` run the command."""
from . import command

if __name__ == '__main__':
    command()
