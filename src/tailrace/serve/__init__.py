"""`tailrace serve`: Kafka Connect's REST API over pipelines, which all processes of a group run together."""
