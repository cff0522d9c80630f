"""Kinesis Data Streams: changes of DynamoDB tables, and any other records."""
