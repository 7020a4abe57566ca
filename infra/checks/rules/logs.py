"""Log groups."""

from check import check


@check
def retention(stack):
    """Logs show people's actions, if only by ids, so they must expire."""
    for group in stack.all("AWS::Logs::LogGroup"):
        yield group.must(
            "RetentionInDays" in group, "is kept for ever", "set RetentionInDays: !Ref LogRetentionDays"
        )
