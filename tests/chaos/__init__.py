"""Real workers on a real Kafka, with faults from a seed: `python -m chaos --seed 7 --minutes 5`.

Three brokers, several `tailrace run` processes behind proxies, the simulator for DynamoDB with its shards splitting.
A schedule drawn from the seed kills, freezes, stops and starts workers and brokers, moves leaders, sets clocks, and
breaks, slows and silences connections, while a writer changes hot items and a long tail. Everything that is committed
is checked as it comes.
"""
