"""Models and images: what lies where, how it gets to the other nodes, and what limits it.

Pure, but for `node/`: programs that the runner sends to the nodes, which have Python and nothing
of ours.
"""
