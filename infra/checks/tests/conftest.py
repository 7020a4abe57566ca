"""The correct stack, from which wrong ones are made."""

import pytest

from stack import Stack


@pytest.fixture(scope="session")
def stack():
    return Stack.read()
