# Settings of every config, in all frameworks.
custom_imports = dict(imports=['mmvit_backbones'])
