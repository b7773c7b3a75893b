"""Load on a running server, measured token by token; results, their comparison, reports and plots.

client.py and load.py talk to the server, files.py reads and writes files; the rest is pure.
"""
