"""The fast tests: no SSH, no VM. Cases are data files where there are many of them."""
