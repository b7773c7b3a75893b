"""One file per serving engine: a recipe and a placement in, container specs out. Pure."""
