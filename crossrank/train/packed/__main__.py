"""`python -m crossrank.train.packed`: trains on packed inputs with nothing but torch, numpy and safetensors."""

import argparse
from pathlib import Path

from crossrank.train.packed.run import run


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(prog="python -m crossrank.train.packed", description=__doc__)
    parser.add_argument("inputs", type=Path, help="The file that `crossrank train --prepare` wrote.")
    parser.add_argument("--base", type=Path, required=True, help="Directory of the model that training starts from.")
    parser.add_argument(
        "--teacher", type=Path, action="append", default=[], help="Directory of a bi-encoder; repeatable."
    )
    parser.add_argument("--out", type=Path, required=True, help="Directory of log, checkpoint and result.")
    parser.add_argument("--time-limit", type=float, required=True, help="Seconds until the result must be there.")
    parser.add_argument("--max-steps", type=int, help="Steps of the whole run; makes it independent of the clock.")
    parser.add_argument("--eager", action="store_true", help="Do not compile the layers.")
    given = parser.parse_args()
    run(
        given.inputs,
        given.base,
        given.teacher,
        given.out,
        time_limit=given.time_limit,
        max_steps=given.max_steps,
        compiled=not given.eager,
    )


main()
