"""Tables: stored data must not be lost, and must not be where it is not needed."""

from check import check

TABLE = "AWS::DynamoDB::Table"
# The portal follows the changes of these tables.
STREAMED = {"EnrollmentsTable", "CertificatesTable"}


@check
def point_in_time_recovery(stack):
    """A wrong import or a wrong sweep can only be undone from an earlier state."""
    for table in stack.all(TABLE):
        yield table.must(
            table.at("PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled") is True,
            "cannot be had back as it was",
            "set PointInTimeRecoverySpecification: {PointInTimeRecoveryEnabled: true}",
        )


@check
def encrypted(stack):
    """Tables are encrypted with a key of the account, whose use CloudTrail shows."""
    for table in stack.all(TABLE):
        yield table.must(
            table.at("SSESpecification", "SSEEnabled") is True,
            "is encrypted with a key that AWS owns",
            "set SSESpecification: {SSEEnabled: true}",
        )


@check
def on_demand(stack):
    """Deliveries come in bursts: provisioned capacity would be too small for them, and too large
    otherwise."""
    for table in stack.all(TABLE):
        yield table.must(
            table.get("BillingMode") == "PAY_PER_REQUEST",
            "has a throughput of its own",
            "set BillingMode: PAY_PER_REQUEST",
        )


@check
def deletion_protection(stack):
    """A slip in the console must not delete a table."""
    for table in stack.all(TABLE):
        yield table.must(
            table.get("DeletionProtectionEnabled") is True,
            "can be deleted, with the defaults of the parameters",
            "set DeletionProtectionEnabled: true, or a parameter that says so by default",
        )


@check
def retained(stack):
    """A table must outlive its stack, and a change of its logical id."""
    for table in stack.all(TABLE):
        yield table.must(
            table.deletion_policy == table.update_replace_policy == "Retain",
            "goes with the stack, or when it is replaced",
            "set DeletionPolicy and UpdateReplacePolicy to Retain",
        )


@check
def indexes(stack):
    """An index only finds keys. A history in it would be written, and paid for, twice."""
    for table in stack.all(TABLE):
        for index in table.get("GlobalSecondaryIndexes", []) + table.get("LocalSecondaryIndexes", []):
            projection = index["Projection"]
            yield table.must(
                projection["ProjectionType"] != "ALL"
                and "history" not in projection.get("NonKeyAttributes", []),
                f"has all that happened in the index {index['IndexName']}",
                "project KEYS_ONLY, or INCLUDE without history",
            )


@check
def streams(stack):
    """The portal follows enrollments and certificates. A stream of another table would show it
    data that it need not know."""
    for table in stack.all(TABLE):
        has_stream, is_streamed = "StreamSpecification" in table, table.name in STREAMED
        yield table.must(
            has_stream == is_streamed,
            "has a stream" if has_stream else "has no stream",
            "remove its StreamSpecification" if has_stream else "give it a StreamSpecification",
        )
