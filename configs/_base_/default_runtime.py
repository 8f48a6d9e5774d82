# Settings of all configs, for all frameworks.
custom_imports = dict(imports=['mmvit_backbones'])
