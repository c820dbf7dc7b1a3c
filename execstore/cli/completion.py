"""``execstore completion``: what a shell needs to complete commands, options, states and IDs."""

from __future__ import annotations

import click

from execstore.cli.context import json_option
from execstore.cli.output import print_json

__all__ = ["command"]

_VARIABLE = "_EXECSTORE_COMPLETE"


@click.command(name="completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
@click.pass_context
def command(ctx: click.Context, *, shell: str, as_json: bool) -> None:
    """Print a script that lets a shell complete commands, options, states and the IDs that are in the store.

    \b
    execstore completion bash > ~/.local/share/bash-completion/completions/execstore
    execstore completion zsh > ~/.zfunc/_execstore
    execstore completion fish > ~/.config/fish/completions/execstore.fish
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - needed nowhere else

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"this version of click can't complete in {shell}")
    # Not the class's own source(), which for bash starts one to ask for its version.
    made = kind(ctx.find_root().command, {}, "execstore", _VARIABLE)
    script = made.source_template % made.source_vars()
    if as_json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
