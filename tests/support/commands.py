"""The command in this process: importing PyTorch anew for each call would take most of the time."""

import io
import logging
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

from crossrank.cli.app import main


def crossrank(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `crossrank` with arguments, and gives what a process of its own would have given."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    handlers = logging.getLogger("crossrank").handlers
    command = ["crossrank", *arguments]
    try:
        with mock.patch.object(sys, "argv", command), redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        logging.getLogger("crossrank").handlers = handlers
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())
