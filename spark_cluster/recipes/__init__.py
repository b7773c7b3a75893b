"""A model to serve: the recipe's model and loader, and whether it fits."""
