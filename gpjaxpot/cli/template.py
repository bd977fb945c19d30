"""`gpjaxpot template`: every setting, with its default, as a file to begin from."""

import typer


def template() -> None:
    """Print a commented config with every key and its default."""
    from gpjaxpot.potential.settings import template_text

    typer.echo(template_text(), nl=False)
