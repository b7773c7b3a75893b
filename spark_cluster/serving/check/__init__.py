"""Whether a server does what its users need: the requests that ask for it, and judges of what came
back. Pure; actions/check.py sends them."""
