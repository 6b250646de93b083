"""Surroundings: files that change, break or go, descriptors, signals, and what is written of callers' texts."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.hostile.connections import request
from benchmarks.hostile.rankers import SPOILT, copied_ranker, spoilt
from benchmarks.hostile.target import RANK, Target, attacked, counted, free_port
from benchmarks.hostile.texts import rank
from crossrank.serve.access.keys import new_key

_CANARY = "canary7f3a"
_BODY = {"query": "a", "documents": ["b", "c"]}
Outcome = tuple[str, bool]


def _secrets() -> Outcome:
    """A word in every place that a caller can write; it is looked for in the log and the metrics."""
    text = f"{_CANARY} word"
    with tempfile.TemporaryDirectory() as place:
        key, table = new_key("team")
        Path(place, "keys.toml").write_text(table)
        arguments = ("--keys", f"{place}/keys.toml", "--feedback", f"{place}/feedback.db")
        with attacked(*arguments) as target:
            bearer = {"Authorization": f"Bearer {key}"}
            full = {**_BODY, "query": text, "documents": [{"text": text, "id": text, text: text}], text: text}
            for headers in (
                bearer,
                {"Authorization": f"Bearer {text}"},
                {**bearer, "X-Note": text, "Traceparent": text},
            ):
                for path in ("/v1/rerank", f"/{_CANARY}", f"/v1/rerank?x={_CANARY}", f"/v1/models/{_CANARY}"):
                    target.post(path, {**full, "model": text}, headers)
                    target.post(path, b'{"query": "' + text.encode(), headers)
                    target.post(path, {**full, "query": 3, "documents": text, "top_n": text}, headers)
                target.post("/v1/feedback", {"request_id": "a", "document_id": text, "comment": text}, headers)
                target.post("/v1/rerank", full, {**headers, "X-Request-Timeout-Ms": text})
            for metadata in ([("authorization", f"Bearer {key}")], [("authorization", text), ("x-note", text)]):
                message = rank(text, [text] * 3, model=text)
                message.documents[0].id = text
                target.call(RANK, message, text.encode(), metadata=metadata)
                target.call(f"/{_CANARY}/{_CANARY}", message, metadata=metadata)
            target.say(f"{_CANARY} {_CANARY}\r\n\r\n".encode(), 2)
            shown = urllib.request.urlopen(f"http://{target.metrics}/metrics").read().decode()
            target.process.terminate()
            target.process.wait(60)
            log = target.logged()
    lines = [line for line in log.splitlines() if _CANARY in line or key in line]
    faults = log.count('"fault"') + log.count('"uncaught"')
    found = len(lines) + shown.count(_CANARY)
    return f"{found} places, {faults} faults {[line[:200] for line in lines][:2] or ''}", not found and not faults


def _labels() -> Outcome:
    with attacked() as target:
        target.post("/v1/rerank", _BODY)

        def series() -> int:
            shown: bytes = urllib.request.urlopen(f"http://{target.metrics}/metrics").read()
            return shown.count(b"\n")

        before = series()
        for number in range(200):
            target.post(f"/path{number}", {**_BODY, "model": f"m{number}"})
            target.post("/v1/rerank", {**_BODY, "model": f"m{number}", "crossrank": {"request_id": f"r{number}"}})
            target.call(f"/service{number}/method", b"")
        grown = series() - before
    return f"{grown} more lines", grown < 100


def _descriptors() -> Outcome:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
        target = stack.enter_context(attacked())
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for http in (True, False):
            with ExitStack() as held:
                for _ in range(150):
                    held.enter_context(target.connect(http=http))
                time.sleep(1)
        time.sleep(2)
        statuses = f"{target.post('/v1/rerank', _BODY)}, {target.call(RANK, rank('a', ['b']))}"
        return f"{statuses}, exit {target.process.poll()}", statuses == "200, OK"


def _stuck_reader() -> Outcome:
    body = json.dumps({**_BODY, "documents": ["word " * 3000] * 900, "return_documents": True}).encode()
    with attacked("--drain-timeout", "5") as target, ExitStack() as held:
        for sent in (request(body), request(body[:100], length=10_000), b"POST / HT", b""):
            held.enter_context(target.connect()).sendall(sent)
        held.enter_context(target.connect(http=False))
        time.sleep(5)
        began = time.monotonic()
        target.process.terminate()
        code = target.process.wait(60)
        took = time.monotonic() - began
    return f"exit {code} after {took:.1f} s", code == 0 and took < 12


def _second_signal() -> Outcome:
    with attacked("--drain-delay", "30") as target:
        target.process.terminate()
        time.sleep(1)
        during = f"{target.post('/v1/rerank', _BODY)}, {target.call(RANK, rank('a', ['b']))}"
        target.process.send_signal(signal.SIGINT)
        code = target.process.wait(5)
    return f"{during}, exit {code}", during == "200, OK" and code in (-2, -15, 130)


def _feedback(spoil: Callable[[Path], object]) -> Callable[[], Outcome]:
    def run() -> Outcome:
        with tempfile.TemporaryDirectory() as place:
            file = Path(place, "feedback.db")
            with attacked("--feedback", str(file)) as target:
                asked = {**_BODY, "crossrank": {"request_id": "r1"}}
                told = {"request_id": "r1", "document_id": "0", "thumb": "up"}
                before = target.post("/v1/rerank", asked), target.post("/v1/feedback", told)
                spoil(file)
                after = target.post("/v1/feedback", told), target.post("/v1/rerank", _BODY)
                alive = target.process.poll() is None
        return f"{before}, then {after}", before == ("200", "200") and after[1] == "200" and alive and after[0] != "500"

    return run


def _moved_away(file: Path) -> None:
    for one in file.parent.glob("feedback.db*"):
        one.rename(one.with_name(f"old-{one.name}"))


def _keys() -> Outcome:
    """The file of keys half-written, empty, a directory, gone: the keys before stand; then a new one counts."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "keys.toml")
        (key, table), (other, second) = new_key("team"), new_key("other")
        file.write_text(table)
        with attacked("--keys", str(file)) as target:

            def asked(which: str) -> str:
                time.sleep(1.2)
                return target.post("/v1/rerank", _BODY, {"Authorization": f"Bearer {which}"})

            statuses = [asked(key), asked(other)]
            for text in (table[: len(table) // 2], "[keys]\nx = 1", "\0" * 1000, "[" * 100_000):
                file.write_text(text)
                statuses.append(asked(key))
            file.unlink()
            statuses.append(asked(key))
            file.mkdir()
            statuses.append(asked(key))
            file.rmdir()
            file.write_text(second)
            statuses += [asked(key), asked(other)]
    good = ["200", "401", "200", "200", "200", "200", "200", "200", "401", "200"]
    return ", ".join(statuses), statuses == good


def _changed_while_served() -> Outcome:
    statuses: list[str] = []
    with copied_ranker() as directory, attacked(str(directory), "--reload-interval", "0.3") as target:
        model, manifest = next((directory / "onnx").glob("*.onnx")), directory / "onnx/manifest.json"
        for spoil in (
            lambda: os.truncate(model, 1000),
            lambda: manifest.write_text("{"),
            lambda: (directory / "tokenizer.json").write_bytes(b"[" * 30_000_000),
            lambda: shutil.rmtree(directory),
        ):
            spoil()
            time.sleep(2)
            target.process.send_signal(signal.SIGHUP)
            time.sleep(1)
            statuses.append(target.post("/v1/rerank", {**_BODY, "query": f"q{len(statuses)}"}))
        faults = target.logged().count('"fault"') + target.logged().count('"uncaught"')
    return f"{counted(statuses)}, {faults} faults", statuses == ["200"] * 4 and not faults


def _without(*closed: int) -> Callable[[], Outcome]:
    def run() -> Outcome:
        shell = f"exec {sys.executable} -m crossrank.cli serve --port {{}} --http-port {{}} " + " ".join(
            f"{n}>&-" for n in closed
        )
        ports = free_port(), free_port()
        with subprocess.Popen(
            ["sh", "-c", shell.format(*ports)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
        ) as process:
            target = Target(f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}", "", process)
            statuses = []
            for _ in range(60):  # during the start as well
                statuses.append(target.post("/v1/rerank", _BODY))
                if statuses[-1] == "200":
                    break
                time.sleep(0.25)
            process.terminate()
            code = process.wait(60)
        good = statuses[-1] == "200" and {*statuses} <= {"200", "503", "ConnectionRefusedError"} and code == 0
        return f"{counted(statuses)}, exit {code}", good

    return run


CASES: dict[str, Callable[[], Outcome]] = {
    "a secret in every field, header, path and key": _secrets,
    "paths, models and methods of every name in metrics": _labels,
    "150 connections to each port, 64 descriptors": _descriptors,
    "SIGTERM beside readers and senders that are stuck": _stuck_reader,
    "calls after SIGTERM, then SIGINT": _second_signal,
    "feedback's file moved away": _feedback(_moved_away),
    "feedback's file overwritten": _feedback(lambda file: file.write_bytes(os.urandom(100_000))),
    "feedback's file cut off": _feedback(lambda file: os.truncate(file, 10)),
    "feedback's directory gone": _feedback(lambda file: shutil.rmtree(file.parent)),
    "file of keys half-written, gone, a directory": _keys,
    "a ranker's directory spoilt while it is served": _changed_while_served,
    **{f"ranker: {name}": spoilt(spoil) for name, spoil in SPOILT.items()},
    "standard input closed": _without(0),
    "standard output closed": _without(1),
    "standard error closed": _without(2),
    "all three closed": _without(0, 1, 2),
}
