def check_distributions():
    pass
