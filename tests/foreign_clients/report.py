"""What all scripts of clients end with."""

import json
from collections.abc import Callable


def report(clients: dict[str, Callable[[], list[tuple[str, float]]]]) -> None:
    """Asks each client and prints a JSON object of [text, score] lists by name; of the error where it raises one."""
    said: dict[str, object] = {}
    for name, call in clients.items():
        try:
            said[name] = call()
        except Exception as error:
            said[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(said))
