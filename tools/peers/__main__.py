"""Starts the local stack, compares it with its peers, and stops it.

    python tools/peers PROGRAM [unittest's arguments]

PROGRAM is the built `coursehook-local`. `make peers` does it all.
"""

import logging
import os
import signal
import sys
import unittest

# Files written into the repository would restart the functions.
sys.dont_write_bytecode = True

import lms
import stack


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    program, arguments = sys.argv[1], sys.argv[2:]
    # A signal that ends this process ends the stack too. The exception of Ctrl-C is the
    # only one that a test does not catch.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # All servers are on this machine, so no proxy of the environment may be used.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    # The logs of the peers are not needed: their effects are seen in the requests. Most
    # of them are tracebacks.
    logging.getLogger().addHandler(logging.NullHandler())

    with lms.running(), stack.running(program):
        folder = os.path.dirname(os.path.abspath(__file__))
        tests = ["discover", "-s", folder] if not arguments else arguments
        ran = unittest.main(module=None, argv=["peers", *tests], exit=False)
    result = ran.result
    # No test may be skipped silently.
    if result.testsRun == 0 or result.skipped or not result.wasSuccessful():
        sys.exit(1)


if __name__ == "__main__":
    main()
