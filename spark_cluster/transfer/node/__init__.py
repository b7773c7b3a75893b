"""Programs that run on the nodes, by Python's standard library alone (3.9 or newer).

`scripts.py` sends them along with each call. They print one JSON object a line: progress, and at
the end `{"done": …}` or `{"failed": …, "reason": …}`.
"""
