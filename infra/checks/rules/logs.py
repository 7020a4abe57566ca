"""Log groups."""

from check import check


@check
def retention(stack):
    """Logs say who did what, if only by ids: they are not to be kept for ever."""
    for group in stack.all("AWS::Logs::LogGroup"):
        yield group.must(
            "RetentionInDays" in group, "is kept for ever", "set RetentionInDays: !Ref LogRetentionDays"
        )
