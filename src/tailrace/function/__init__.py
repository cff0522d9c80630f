"""The AWS Lambda function: batches in, published exactly once."""
