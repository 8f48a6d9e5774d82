"""The installed command `mmvit`: a module per verb with `get_parser` and `main`, and what verbs share."""
