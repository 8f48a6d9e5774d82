"""Makes ``python -m mmvit_backbones`` run the ``mmvit`` command."""
from mmvit import command

if __name__ == '__main__':
    command()
