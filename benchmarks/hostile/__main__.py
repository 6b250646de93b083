"""`python -m benchmarks.hostile [WORD...]`: tries the cases whose names hold one of the words, and prints a table."""

import sys
import time
from collections.abc import Iterator

from benchmarks.hostile import connections, streams, surroundings, texts
from benchmarks.hostile.case import Case
from benchmarks.hostile.target import RANK, Target, attacked, watched

# A server whose callers are not all refused for what another did a moment before.
_ARGUMENTS = ("--score-cache", "0")


def main(words: list[str]) -> int:
    """Prints a line for each case; the exit code is the number of those that failed."""
    failed = 0
    print("| case | statuses | peak MiB over idle | health answers | longest silence ms | verdict |")
    print("|---|---|---|---|---|---|", flush=True)

    def wanted(name: str) -> bool:
        return not words or any(word in name for word in words)

    shared = [case for case in (*texts.cases(), *connections.cases(), *streams.cases()) if wanted(case.name)]
    while shared:
        # A server that a case brings down is replaced.
        with attacked(*_ARGUMENTS) as target:
            target.call(RANK, *[texts.rank("warm", [f"{n} word" for n in range(50)])] * 4)
            idle = target.resident()
            print(f"| idle: {idle} MiB | | | | | |", flush=True)
            while shared:
                case = shared.pop(0)
                line, good = _tried(case, target, idle)
                failed += not good
                print(line, flush=True)
                if target.process.poll() is not None:
                    break
    for name, run in surroundings.CASES.items():
        if wanted(name):
            statuses, good = run()
            failed += not good
            print(f"| {name} | {statuses} | | | | {'holds' if good else 'FAILS'} |", flush=True)
    return failed


def _tried(case: Case, target: Target, idle: int) -> tuple[str, bool]:
    target.forget_peak()
    with watched(target) as seen:
        began = time.monotonic()
        try:
            statuses = case.run(target)
        except OSError as error:
            statuses = type(error).__name__
        took = time.monotonic() - began
    if target.process.poll() is not None:
        return f"| {case.name} | {statuses} | | | | FAILS: exit {target.process.returncode} |", False
    peak = target.resident("VmHWM") - idle
    faults = list(_faults(case, statuses, peak, idle, seen, took))
    ports = seen.values()
    columns = [
        case.name,
        statuses,
        str(peak),
        " + ".join(str(port["answers"]) for port in ports),
        " / ".join(f"{1000 * port['silence']:.0f}" for port in ports),
        f"FAILS: {', '.join(faults)}" if faults else "holds",
    ]
    return f"| {' | '.join(columns)} |", not faults


def _faults(
    case: Case, statuses: str, peak: int, idle: int, seen: dict[str, dict[str, float]], took: float
) -> Iterator[str]:
    if not case.holds(statuses):
        yield f"not {case.right}"
    if peak > (idle if case.memory is None else case.memory):
        yield "memory"
    if any(port["failures"] or (took > 1 and not port["answers"]) for port in seen.values()):
        yield "health"
    if any(port["silence"] > 1 for port in seen.values()):
        yield "silence"


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 100))
