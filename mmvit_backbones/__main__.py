"""`python -m mmvit_backbones` is the command `mmvit`."""
from mmvit import command

if __name__ == '__main__':
    command()
