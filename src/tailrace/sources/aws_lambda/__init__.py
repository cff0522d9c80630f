"""What AWS Lambda hands over: the events of an invocation, and messages about batches that it gave up."""
