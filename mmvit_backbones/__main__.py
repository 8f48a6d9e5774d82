"""Makes ``python -m mmvit_backbones`` run the command ``mmvit``."""
from mmvit import command

if __name__ == '__main__':
    command()
