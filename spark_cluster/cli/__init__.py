"""One file per verb. The only place that knows typer and rich; everything heavy is imported late,
so that `--help` and `--version` start at once."""
