"""Starts the local stack, holds it against its peers, and stops it.

    python tools/peers PROGRAM [unittest's arguments]

PROGRAM is the built `coursehook-local`. `make peers` does it all.
"""

import logging
import os
import signal
import sys
import unittest

# What is written into the repository restarts the functions.
sys.dont_write_bytecode = True

import lms
import stack


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    program, arguments = sys.argv[1], sys.argv[2:]
    # Whoever ends this by a signal ends the stack too. Of exceptions only that
    # of Ctrl-C gets through a test.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Everything is on this machine, whatever stands between it and others.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    # What the peers log is seen in what they send; most of it is tracebacks.
    logging.getLogger().addHandler(logging.NullHandler())

    with lms.running(), stack.running(program):
        folder = os.path.dirname(os.path.abspath(__file__))
        tests = ["discover", "-s", folder] if not arguments else arguments
        ran = unittest.main(module=None, argv=["peers", *tests], exit=False)
    result = ran.result
    # No test may be missing without a word.
    if result.testsRun == 0 or result.skipped or not result.wasSuccessful():
        sys.exit(1)


if __name__ == "__main__":
    main()
