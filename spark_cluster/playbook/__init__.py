"""An ordered list of steps with parameters: the model and its loader."""
