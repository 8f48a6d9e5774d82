"""Code that the scripts in tools/ share; import the modules one by one."""
