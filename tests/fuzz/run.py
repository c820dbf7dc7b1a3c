"""The coverage-guided fuzzer: ``python -m tests.fuzz.run TARGET --seconds N``; needs ``pip install -e '.[fuzz]'``.

It stops at the first input that breaks a promise, and names the file where that is. What is worth keeping goes into
``tests/fuzz/findings/TARGET-what.bin``, where the tests try it for good.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

LONGEST_INPUT_BYTES = 65536
TIMEOUT_SECONDS = 10
MEMORY_MIB = 1024


def main() -> int:
    """The command. Returns the exit status: 0, or 2 if the fuzzer isn't installed; a finding ends it with another."""
    try:
        import atheris
    except ImportError:
        print("error: atheris isn't installed; install it with pip install -e '.[fuzz]'", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["execstore"]):
        from tests.fuzz.targets import FINDINGS, TARGETS, TOKENS, run_target
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description="Fuzz one parser.")
    parser.add_argument("target", choices=sorted(TARGETS), metavar="TARGET", help=", ".join(sorted(TARGETS)))
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="for how long (60)")
    options = parser.parse_args()
    target = TARGETS[options.target]

    def check(data: bytes) -> None:
        run_target(target, data)

    corpus = tempfile.mkdtemp(prefix=f"execstore-fuzz-{options.target}-")
    inputs = [*target.seeds(), *(path.read_bytes() for path in FINDINGS.glob(f"{options.target}-*"))]
    for number, data in enumerate(inputs):
        (Path(corpus) / f"seed-{number}").write_bytes(data)
    dictionary = Path(f"{corpus}.dict")
    words = ["".join(f"\\x{byte:02x}" for byte in token) for token in TOKENS if len(token) < 64]
    dictionary.write_text("".join(f'"{word}"\n' for word in words), encoding="ascii")
    settings = [
        f"-dict={dictionary}",
        f"-max_total_time={options.seconds}",
        f"-max_len={LONGEST_INPUT_BYTES}",
        f"-timeout={TIMEOUT_SECONDS}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-artifact_prefix={corpus}{os.sep}",
        "-print_final_stats=1",
    ]
    print(f"{options.target}: the corpus, and what is found, is in {corpus}", flush=True)
    atheris.Setup([sys.argv[0], *settings, corpus], check)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
