"""Evaluates the frozen features of a network with a k-NN classifier and a linear probe.

    mmvit features configs/imagenet_vitaev2_s.py --pretrained --class-folder FOLDER
    mmvit features configs/imagenet_reswin_t.py CHECKPOINT --save features.npz

The features are the inputs of the network's last linear layer. Both classifiers are fitted to the training images,
without augmentation, and evaluated on the test images. The k-NN classifier weights each neighbor by
exp(cosine similarity / 0.07), as in DINO (arXiv 2104.14294). The linear probe is a logistic regression on standardized
features. Both classifiers come from scikit-learn and run on the CPU.
"""
from argparse import ArgumentParser

from .arguments import (
    above_zero,
    add_config_options,
    add_data_arguments,
    add_pretrained_argument,
    new_parser,
    output_file,
    positive,
)


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('config', help="a classifier's config; the head is ignored")
    parser.add_argument('checkpoint', nargs='?', help="checkpoint file or http(s) URL, in the authors' layout or ours")
    add_pretrained_argument(parser)
    add_data_arguments(parser)
    parser.add_argument('--neighbors', type=positive, nargs='+', default=[20], metavar='K',
                        help='number of neighbors; several numbers are evaluated separately (default: 20)')
    parser.add_argument('--regularization', type=above_zero, nargs='+', default=[0.001, 0.01, 0.1, 1.], metavar='C',
                        help="scikit-learn's C of the linear probe; three-fold cross-validation on the training "
                             'images selects the best of several values (default: 0.001 0.01 0.1 1)')
    parser.add_argument('--save', type=output_file, metavar='FILE.npz', help='file for the features and labels')
    parser.add_argument('--device', help='e.g. cpu or cuda:1 (default: a GPU if there is one)')
    add_config_options(parser)
    return parser
