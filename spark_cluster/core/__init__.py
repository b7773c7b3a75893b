"""The words of the house: steps, plans, results, events, errors, secrets. No I/O but that
data_files.py reads what the package carries."""
