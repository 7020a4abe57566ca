"""Copies all items of one DynamoDB table into another, as after a restoration.

    .local/sam/bin/python infra/copy-items.py RESTORED TABLE

Items of the same key are replaced, others stay. The credentials are those of AWS's own tools; the region is AWS_REGION,
or that of these tools.
"""

import os
import sys

import boto3

if len(sys.argv) != 3:
    sys.exit(__doc__)
source, target = sys.argv[1:]
# boto3 by itself reads only AWS_DEFAULT_REGION.
dynamodb = boto3.client("dynamodb", region_name=os.environ.get("AWS_REGION"))
copied = 0
for page in dynamodb.get_paginator("scan").paginate(TableName=source, ConsistentRead=True):
    for item in page["Items"]:
        dynamodb.put_item(TableName=target, Item=item)
    copied += len(page["Items"])
print(f"{copied} items copied from {source} to {target}")
