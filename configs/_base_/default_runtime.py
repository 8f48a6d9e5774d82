# What every config needs, whatever framework it is for.
custom_imports = dict(imports=['mmvit_backbones'])
