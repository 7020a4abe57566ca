"""Checks by linters of others."""

# In the order in which they are run and listed.
from . import cfn_lint, checkov, parliament, exceptions
