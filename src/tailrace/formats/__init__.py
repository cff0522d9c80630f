"""Conversions: DynamoDB's attribute values to the records that consumers read."""
