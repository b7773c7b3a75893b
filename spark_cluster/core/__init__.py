"""The words of the house: steps, plans, results, events, errors, secrets. No I/O."""
