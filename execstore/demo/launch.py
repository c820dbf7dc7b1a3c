"""Run as a script in the child: ask the kernel to end the program when the node dies, then become the program.

``python -I -S launch.py PARENT_PID PROGRAM NAME ARGUMENT…``. It stands between the node and the program because asking
from a ``preexec_fn`` isn't safe in a process with threads. It imports nothing of the package, so that it starts in a
few milliseconds.
"""

import contextlib
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
EXIT_ORPHANED = 125
EXIT_NOT_EXECUTABLE = 126  # what a shell says of a program that is there and can't be run


def main(arguments: list[str]) -> int:
    """Become the program; returns, with an exit status, only where that wasn't possible."""
    parent_pid, program, *argv = arguments
    if sys.platform == "linux":
        # A Python without ctypes runs the program all the same; it then may outlive a killed node.
        with contextlib.suppress(ImportError):
            import ctypes  # noqa: PLC0415

            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # The node may have died before the kernel was asked, and then nothing would ever tell.
        if os.getppid() != int(parent_pid):
            return EXIT_ORPHANED
    try:
        os.execv(program, argv)  # noqa: S606 (to become the program is the purpose)
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: it can't be run: {error.strerror}\n")
    return EXIT_NOT_EXECUTABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
