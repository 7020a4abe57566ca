"""The stack that is right, from which wrong ones are made."""

import pytest

from pretended import complete
from stack import Stack


@pytest.fixture(scope="session")
def stack():
    return complete(Stack.read())
