import logging
import os
import pty
import re
import subprocess
import sys

import pytest

from crossrank.cli.logs import configure_logging


def test_a_record_is_one_line_with_the_time_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    logging.getLogger("crossrank.train.pipeline").info("read %s [1]", "x" * 200)
    logging.getLogger("crossrank.train.pipeline").debug("hidden")
    logging.getLogger("another.library").info("hidden")
    shown = capsys.readouterr()
    assert re.fullmatch(r"\[\d\d:\d\d:\d\d\] read x{200} \[1\]\n", shown.err)
    assert shown.out == ""


def test_a_terminal_shows_the_record_as_it_is() -> None:
    code = (
        "import logging; from crossrank.cli.logs import configure_logging; configure_logging();"
        "logging.getLogger('crossrank.export').info('keep [bold]4[/bold] of 36')"
    )
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    shown = re.sub(rb"\x1b\[[\d;]*m", b"", os.read(ours, 10_000))
    os.close(ours)
    assert re.match(rb"\[\d\d:\d\d:\d\d\] keep \[bold\]4\[/bold\] of 36", shown), shown


def test_bars_stand_for_repeated_lines_on_a_terminal() -> None:
    code = (
        "import logging, time; from crossrank.cli.logs import configure_logging; configure_logging();"
        "from crossrank.cli.progress import progress_bars; from crossrank.progress import Progress\n"
        "with progress_bars(), Progress(logging.getLogger('crossrank.train'), 'embed texts', total=8) as work:\n"
        "    work.advance(2); work.tell(); time.sleep(0.5)"
    )
    ours, theirs = pty.openpty()
    terminal = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True, env=terminal)
    os.close(theirs)
    shown = re.sub(rb"\x1b\[[\d;]*m", b"", os.read(ours, 100_000))
    os.close(ours)
    assert re.search(rb"\[\d\d:\d\d:\d\d\] embed texts", shown), shown
    assert re.search(rb"embed texts .* 2/8 .* left", shown), shown
    assert b"2 of 8" not in shown
