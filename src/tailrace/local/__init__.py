"""Real Kafka and DynamoDB Local on this machine, from pinned packages; the demo."""
