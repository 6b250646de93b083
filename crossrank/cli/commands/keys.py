"""`crossrank new-key`."""

from typing import Annotated

import typer

from crossrank.cli.output import print_json


def new_key(
    name: Annotated[str, typer.Argument(help="Name of the caller, in logs and limits.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make an API key for a server.

    The key goes to the caller, and only its hash into the file that `crossrank serve --keys FILE` reads. In a table
    of that file, `max_requests_in_flight` and `tokens_per_second` limit what the caller may have.
    """
    from crossrank.serve.access.keys import new_key as make

    key, table = make(name)
    if as_json:
        print_json({"key": key, "table": table})
        return
    print(f"Key, for the caller: {key}\nFor the file of keys:\n\n{table}", end="")
