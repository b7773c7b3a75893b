"""Hosts, their rails and links, and the groups that serve together: models and loader."""
