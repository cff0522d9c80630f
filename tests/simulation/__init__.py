"""The whole protocol in simulated time, from a seed: `python -m simulation --seed 7 --trace`.

What runs is the product: the worker's engine, the lanes, the checkpoint state, the enumerator's loop, the lane's
producer with its runner, the follower and the converter. What is modelled is the world around it: time, processes that
sleep and die, the broker, its clients, the consumer group, DynamoDB Streams, the operator.
"""
