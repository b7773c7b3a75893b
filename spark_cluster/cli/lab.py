"""placeholder until the lab's verbs are there"""

import typer

app = typer.Typer()


@app.command()
def status() -> None:
    """x"""
