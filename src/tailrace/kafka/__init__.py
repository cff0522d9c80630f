"""Kafka: the lane's transactional producer, the checkpoint topic, topics and dead letters."""
