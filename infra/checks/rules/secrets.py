"""Secrets: the template creates them, and people set their value."""

from check import check

SECRET = "AWS::SecretsManager::Secret"


@check
def retained(stack):
    """Tokens that are deleted with a stack lock every sender out."""
    for secret in stack.all(SECRET):
        yield secret.must(
            secret.deletion_policy == secret.update_replace_policy == "Retain",
            "goes with the stack, or when it is replaced",
            "set DeletionPolicy and UpdateReplacePolicy to Retain",
        )


@check
def without_value(stack):
    """A value in a template is in every copy of it, and each deployment would reset it."""
    for secret in stack.all(SECRET):
        yield secret.must(
            "SecretString" not in secret and "GenerateSecretString" not in secret,
            "gets its value from the template",
            "remove SecretString and GenerateSecretString; `make secrets` sets values",
        )
