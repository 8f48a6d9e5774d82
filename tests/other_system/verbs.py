"""Runs subcommands of `mmvit` one after the other: `verbs.py JSON`, a list of their lists of arguments."""
import json
import sys

if __name__ == '__main__':  # processes that start by spawn import this file
    import mmvit.cli
    for arguments in json.loads(sys.argv[1]):
        print(f'$ mmvit {" ".join(arguments)}', flush=True)
        mmvit.cli.main(arguments)
