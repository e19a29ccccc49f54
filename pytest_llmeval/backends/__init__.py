"""Built-in plugins, one vendor or format each, independent of each other."""
