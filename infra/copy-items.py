"""Copies all items of one DynamoDB table into another, as after a restoration.

    .local/sam/bin/python infra/copy-items.py RESTORED TABLE

Items of the same key are replaced, others stay. Region and credentials are those of AWS's own tools.
"""

import sys

import boto3

source, target = sys.argv[1:]
dynamodb = boto3.client("dynamodb")
copied = 0
for page in dynamodb.get_paginator("scan").paginate(TableName=source, ConsistentRead=True):
    for item in page["Items"]:
        dynamodb.put_item(TableName=target, Item=item)
    copied += len(page["Items"])
print(f"{copied} items copied from {source} to {target}")
