import json

import pytest
import structlog

from crossrank.serve.logs import configure_logs


def test_a_fault_is_logged_with_its_frames_and_without_its_locals(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    try:
        query = "SECRET"
        try:
            assert query
            raise RuntimeError("broken")
        except RuntimeError as error:
            structlog.get_logger().error("fault", request_id="r", exc_info=error)
    finally:
        structlog.reset_defaults()
    line = capsys.readouterr().err
    assert json.loads(line)["exception"][0]["exc_type"] == "RuntimeError"
    assert "SECRET" not in line
