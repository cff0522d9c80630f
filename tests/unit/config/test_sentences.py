"""Each mistake in a pipeline file gives one clear sentence: the file, the line, the key, what is wrong, the fix."""

# ruff: noqa: E501 - a sentence of the table is one line

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tailrace.config import FileErrors, load
from tailrace.errors import EXIT_FILE, FileError

GOOD = """\
name: shop
kafka:
  bootstrap.servers: localhost:9092
source:
  type: dynamodb-streams
  tables: [orders, "users-*"]
"""

WITHOUT_SOURCE = "name: shop\nkafka: {bootstrap.servers: 'localhost:9092'}\n"
SOURCE = "source:\n  type: dynamodb-streams\n"
NAME_REMEDY = "use 1 to 200 letters, digits, `.`, `_` and `-`, a letter or digit first: topics are named after it"
TABLE_REMEDY = "a name has 3 to 255 letters, digits, `_`, `-` and `.`; in a pattern `*` and `?` stand for others"
TOPIC_RULE = "a topic's name has 1 to 249 letters, digits, `.`, `_` and `-`"
OWN_LINE = "write each property on a line of its own, e.g. `bootstrap.servers: localhost:9092`"
SEE = "see librdkafka's CONFIGURATION.md"
START = "start with `name:`, `kafka:` and `source:`"
KEYS = (
    "its keys are name, kafka, source, snapshot, on_gap, topic, topics, transform, format, connect, schema, numbers, tombstones, errors, dead_letters, "
    "lanes, batch, buffer, lake, replica, lambda"
)
LANGUAGE = (
    "it is JMESPath over op, table, keys, before, after and item, with texts in 'single quotes' and numbers, null, "
    "true and false in `backquotes`"
)
LONG = "n" * 100


def kafka(lines: str) -> str:
    """A right file but for lines added to `kafka`, the first of them line 4."""
    return GOOD.replace("source:\n", "".join(f"  {line}\n" for line in lines.splitlines()) + "source:\n", 1)


def source(lines: str) -> str:
    """A right file but for lines added to `source`, the first of them line 7."""
    return GOOD + "".join(f"  {line}\n" for line in lines.splitlines())


def top(lines: str) -> str:
    """A right file but for lines added at its end, the first of them line 7."""
    return GOOD + lines + "\n"


def registry(properties: str, more: str = "") -> str:
    """The same for a schema registry's properties, which stand on line 7, and more keys beside them."""
    return top(f"schema: {{type: avro, registry: {{{properties}}}{more and ', ' + more}}}")


CASES: list[tuple[str, str, str]] = [
    # YAML itself
    ("empty", "", f" the file is empty; {START}"),
    ("comment only", "# nothing\n", f" the file is empty; {START}"),
    ("a list", "- name: shop\n", f"1: must be a mapping of keys, not a list; {START}"),
    ("a text", "shop\n", f"1: must be a mapping of keys, not text; {START}"),
    (
        "bad indentation",
        "name: shop\n kafka:\n",
        "2: is not valid YAML: mapping values are not allowed here; "
        "check the indentation, the colons and the quotes here",
    ),
    (
        "open quote",
        'name: "shop\n',
        "2: is not valid YAML: found unexpected end of stream; check the indentation, the colons and the quotes here",
    ),
    (
        "tab",
        "name: shop\nkafka:\n\tbootstrap.servers: x\n",
        "3: is not valid YAML: found character that cannot start any token; "
        "put the value in quotes; indent with spaces, not with tabs",
    ),
    (
        "unquoted star",
        SOURCE + "  tables: [*users]\n",
        "3: is not valid YAML: an unquoted value cannot begin with * or &; put it in quotes",
    ),
    (
        "reference in brackets",
        SOURCE + "  tables: [${env:TABLES}]\n",
        "3: is not valid YAML: expected ',' or ']', but got '{'; inside [ ] and { }, put `${…}` in quotes",
    ),
    (
        "two documents",
        GOOD + "---\n" + GOOD,
        "7: is not valid YAML: there is a second document after `---`; keep one pipeline in a file",
    ),
    ("tag", top("lanes: !!python/name:os.system x"), "7: lanes: has a YAML tag; leave out the word that begins with `!`"),
    ("tag on a list", top("lanes: !x [1]"), "7: lanes: has a YAML tag; leave out the word that begins with `!`"),
    ("NUL", top('format: "a\\0b"'), "7: format: holds a character that is no text; take it out"),
    ("half a pair", top('format: "\\ud800"'), "7: format: holds a character that is no text; take it out"),
    ("no character", top('format: "\\UFFFFFFFF"'), " has an escape that is no character; correct the \\u or \\U escape"),
    (
        "control character",
        "name: shop\nkafka: \x07\n",
        "2: holds a control character; is it a binary file? give the path of a pipeline file",
    ),
    ("endless", "name: &a [*a]\n", "1: an alias makes it endless, or it is nested too deep; write the values out"),
    ("key is a list", top("[a, b]: c"), "7: `?`: a key must be plain text; write `key: value`"),
    ("twice", top("name: other"), "7: name: is given twice, first in line 1; keep one of them"),
    ("twice below", kafka("linger.ms: 1\nlinger.ms: 2"), "5: kafka.linger.ms: is given twice, first in line 4; keep one of them"),
    # keys
    ("unknown", top("formatt: item"), "7: formatt: is not a key of a pipeline; did you mean `format`?"),
    ("unknown below", source("pol: {}"), "7: source.pol: is not a key of `source`; did you mean `poll`?"),
    (
        "unknown, none near",
        top("batch: {colour: red}"),
        "7: batch.colour: is not a key of `batch`; its keys are changes, bytes, linger",
    ),
    ("attribute's name", top("buffer_bytes: 8MiB"), "7: buffer_bytes: is not a key of a pipeline; did you mean `buffer`?"),
    ("odd key", top('"a\\nb": 1'), f"7: `a\\nb`: is not a key of a pipeline; {KEYS}"),
    ("no name", GOOD.replace("name: shop\n", ""), "1: name: is missing; add e.g. `name: shop`"),
    ("no kafka", "name: shop\n" + SOURCE + "  tables: [orders]\n", "1: kafka: is missing; add e.g. `kafka: {bootstrap.servers: localhost:9092}`"),
    ("no source", WITHOUT_SOURCE, "1: source: is missing; add e.g. `source: {type: dynamodb-streams, tables: [orders]}`"),
    ("no tables", WITHOUT_SOURCE + SOURCE, "3: source.tables: is missing; add e.g. `tables: [orders]`, or `tags`"),
    ("no type", GOOD.replace("  type: dynamodb-streams\n", ""), "4: source.type: is missing; add e.g. `type: dynamodb-streams`"),
    # kinds
    ("number for text", GOOD.replace("shop", "2024"), '1: name: must be text, not a number; put it in quotes: "2024"'),
    ("true for text", GOOD.replace("shop", "True"), '1: name: must be text, not true or false; put it in quotes: "true"'),
    ("nothing for text", GOOD.replace("shop", ""), "1: name: must be text, not empty; give a value, or leave the key out"),
    ("text for number", top('lanes: "16"'), "7: lanes: must be a whole number, not `16`; take off the quotes"),
    ("word for number", top("lanes: many"), "7: lanes: must be a whole number, not `many`"),
    ("sexagesimal", top("lanes: 1:30"), "7: lanes: must be a whole number, not `1:30`"),
    ("fraction", top("lanes: 1.5"), "7: lanes: must be a whole number, not `1.5`"),
    ("yes", top("tombstones: yes"), "7: tombstones: must be true or false, not `yes`"),
    ("quoted true", top('tombstones: "true"'), "7: tombstones: must be true or false, not `true`; take off the quotes"),
    ("on for a word", top("errors: on"), "7: errors: must be dead-letter or fail, not `on`"),
    ("text for a list", source("exclude: orders-old"), "7: source.exclude: must be a list, not `orders-old`; write [orders-old]"),
    ("mapping for a list", source("exclude: {a: b}"), "7: source.exclude: must be a list, not a mapping; write it as [a, b]"),
    ("text for a mapping", top("batch: big"), "7: batch: must be a mapping, not `big`"),
    ("nothing for a mapping", top("batch:"), "7: batch: must be a mapping, not empty; give a value, or leave the key out"),
    ("list for kafka", "name: shop\nkafka: [a]\n" + SOURCE + "  tables: [orders]\n",
     "2: kafka: must be a mapping of librdkafka properties, not a list; write `bootstrap.servers: localhost:9092` below it"),
    # values
    ("name with a blank", GOOD.replace("shop", "my shop"), f"1: name: `my shop` cannot be a pipeline's name; {NAME_REMEDY}"),
    ("name too long", GOOD.replace("shop", LONG * 3), f"1: name: `{LONG[:57]}...` cannot be a pipeline's name; {NAME_REMEDY}"),
    ("name of dots", GOOD.replace("shop", "..."), f"1: name: `...` cannot be a pipeline's name; {NAME_REMEDY}"),
    ("other type", GOOD.replace("-streams", "-stream"), "5: source.type: must be dynamodb-streams or kinesis, not `dynamodb-stream`; did you mean `dynamodb-streams`?"),
    ("other start", source("start: lates"), "7: source.start: must be trim_horizon or latest, not `lates`; did you mean `latest`?"),
    ("other format", top("format: avro"), "7: format: must be debezium, item, dynamodb-json, cloudevents, trustpilot or confluent-dynamodb, not `avro`"),
    ("misspelt format", top("format: cloudevent"), "7: format: must be debezium, item, dynamodb-json, cloudevents, trustpilot or confluent-dynamodb, not `cloudevent`; did you mean `cloudevents`?"),
    ("number for a format", top("format: 7"), "7: format: must be debezium, item, dynamodb-json, cloudevents, trustpilot or confluent-dynamodb, not a number"),
    ("nothing for a format", top("format:"), "7: format: must be debezium, item, dynamodb-json, cloudevents, trustpilot or confluent-dynamodb, not empty"),
    ("other format, as a mapping", top("format:\n  type: avro"), "8: format.type: must be debezium, item, dynamodb-json, cloudevents, trustpilot or confluent-dynamodb, not `avro`"),
    ("format without type", top("format: {}"), "7: format.type: is missing; add e.g. `type: debezium`"),
    ("unknown key of a format", top("format:\n  type: item\n  schema: x"), "9: format.schema: is not a key of `format`; its keys are type"),
    ("no lanes", top("lanes: 0"), "7: lanes: must be at least 1, not 0"),
    ("too many lanes", top("lanes: 1025"), "7: lanes: must be at most 1024, not 1025"),
    ("duration without unit", source("poll: {min: 5}"), "7: source.poll.min: has no unit; write a duration, e.g. `10ms` or `1m`"),
    ("duration of what", source("poll: {max: 3 days}"), "7: source.poll.max: must be a duration, not `3 days`; its units are ms, s, m, h"),
    ("duration too long", source("poll:\n  max: 2h"), "8: source.poll.max: must be 10ms to 5m, not `2h`"),
    ("duration of a list", source("poll: {max: [1s]}"), "7: source.poll.max: must be a duration, not a list; write a duration, e.g. `10ms` or `5m`"),
    ("size without unit", top("buffer: 16000000"), "7: buffer: has no unit; write a size, e.g. `1MiB` or `1GiB`"),
    ("size of what", top("buffer: 16mb"), "7: buffer: must be a size, not `16mb`; its units are B, KB, MB, GB, KiB, MiB, GiB"),
    ("replication", top("topics: {replication: 0}"), "7: topics.replication: must be `auto` or a whole number from 1, not `0`"),
    ("region", source("region: US East"), "7: source.region: `US East` is not a region; write e.g. `us-east-1`"),
    ("role", source("role_arn: tailrace"), "7: source.role_arn: `tailrace` is not the ARN of a role; write e.g. `arn:aws:iam::123456789012:role/tailrace`"),
    ("endpoint", source("endpoint_url: localhost:8000"), "7: source.endpoint_url: `localhost:8000` is not a URL of a service; write e.g. `http://localhost:8000`"),
    ("endpoint with a user", source("endpoint_url: http://u:p@host:8000"), "7: source.endpoint_url: must not hold a user or password; AWS credentials come from the environment or the profile"),
    ("no table", GOOD.replace('[orders, "users-*"]', "[]"), "6: source.tables: is empty; add e.g. `tables: [orders]`, or leave it out and add `tags`"),
    ("tag that is no text", GOOD.replace('tables: [orders, "users-*"]', "tags: {cdc: true}"), "6: source.tags.cdc: must be text or a list of it, not true or false; put it in quotes: \"true\""),
    ("tag without a value", GOOD.replace('tables: [orders, "users-*"]', "tags: {cdc: []}"), "6: source.tags.cdc: is empty; give one value or more, or `*` for any"),
    ("any value beside another", GOOD.replace('tables: [orders, "users-*"]', "tags: {cdc: ['*', a]}"), "6: source.tags.cdc: has `*` beside other values; leave the others out: `*` stands for any"),
    ("access key without its secret", GOOD + "  access_key_id: AKIAIOSFODNN7EXAMPLE\n", "4: source: has one of `access_key_id` and `secret_access_key`; give both, or neither for the usual chain"),
    ("access key and profile", GOOD + "  access_key_id: AKIAIOSFODNN7EXAMPLE\n  secret_access_key: s\n  profile: lab\n", "4: source: has both a `profile` and an access key; keep one of them"),
    ("tag with a value that is no text", GOOD.replace('tables: [orders, "users-*"]', "tags: {cdc: [1]}"), "6: source.tags.cdc[0]: must be text, not a number; put it in quotes: \"1\""),
    ("tags without values", GOOD.replace('tables: [orders, "users-*"]', "tags: [cdc]"), "6: source.tags: must be a mapping, not a list"),
    ("table's ARN", GOOD.replace("orders", "arn:aws:dynamodb:us-east-1:1:table/orders"), "6: source.tables[0]: must be a table's name, not its ARN; give the part after `table/`; the region has its own key"),
    ("short table", GOOD.replace("orders", "ab"), f"6: source.tables[0]: `ab` cannot be a table's name; {TABLE_REMEDY}"),
    ("table set", GOOD.replace("users-*", "users-[ab]"), f"6: source.tables[1]: `users-[ab]` cannot be a table's name; {TABLE_REMEDY}"),
    ("table is a number", GOOD.replace("orders", "1234"), '6: source.tables[0]: must be text, not a number; put it in quotes: "1234"'),
    ("topic's placeholder", top('topic: "{pipeline}.{tabel}"'), "7: topic: has the unknown placeholder `{tabel}`; did you mean `table`?"),
    ("topic's form", top('topic: "{pipeline}/{table}"'), f"7: topic: `{{pipeline}}/{{table}}` cannot name a topic; {TOPIC_RULE}"),
    ("topic's brace", top('topic: "{table"'), f"7: topic: `{{table` cannot name a topic; {TOPIC_RULE}"),
    ("dead letters' topic", top("dead_letters: dead letters"), f"7: dead_letters: `dead letters` cannot name a topic; {TOPIC_RULE}"),
    ("snapshot of what", top("snapshot: always"), "7: snapshot: must be never, initial or when_needed, not `always`"),
    ("snapshot, misspelt", top("snapshot: intial"), "7: snapshot: must be never, initial or when_needed, not `intial`; did you mean `initial`?"),
    ("nothing for a snapshot", top("snapshot:"), "7: snapshot: must be never, initial or when_needed, not empty"),
    ("a list for a snapshot", top("snapshot: [initial]"), "7: snapshot: must be never, initial or when_needed, not a list; did you mean `initial`?"),
    ("snapshot's key", top("snapshot:\n  mod: initial"), "8: snapshot.mod: is not a key of `snapshot`; did you mean `mode`?"),
    ("snapshot's mode", top("snapshot:\n  mode: once"), "8: snapshot.mode: must be never, initial or when_needed, not `once`"),
    ("no read capacity", top("snapshot: {read_capacity: 0}"), "7: snapshot.read_capacity: must be 1 to 10000000 read capacity units a second, not 0"),
    ("read capacity above all", top("snapshot: {read_capacity: 150%}"), "7: snapshot.read_capacity: must be 1% to 100% of the table's read capacity, not `150%`"),
    ("read capacity of what", top("snapshot: {read_capacity: half}"), "7: snapshot.read_capacity: must be read capacity units a second or a share of the table's, not `half`; write e.g. 500 or 50%"),
    ("nothing for a read capacity", top("snapshot: {read_capacity: }"), "7: snapshot.read_capacity: must be read capacity units a second or a share of the table's, not empty; write e.g. 500 or 50%"),
    ("no segments", top("snapshot: {segments: 0}"), "7: snapshot.segments: must be `auto` or 1 to 100000, not `0`"),
    ("segments of what", top("snapshot: {segments: [1]}"), "7: snapshot.segments: must be `auto` or 1 to 100000, not a list"),
    ("no tables at the same time", top("snapshot: {parallel_tables: 0}"), "7: snapshot.parallel_tables: must be `all` or 1 to 10000, not `0`"),
    ("filter, not parsed", top("snapshot: {filter: 'item.a =='}"), f"7: snapshot.filter: `item.a ==`: it cannot be parsed: Incomplete expression; {LANGUAGE}"),
    ("filter by op", top("snapshot: {filter: \"op == 'c'\"}"), f"7: snapshot.filter: `op == 'c'`: op of every row is 'r': it filters rows by table, keys, after, item and created_ms; {LANGUAGE}"),
    ("filter by the old image", top("snapshot: {filter: before.a}"), f"7: snapshot.filter: `before.a`: a row has no before: it filters rows by table, keys, after, item and created_ms; {LANGUAGE}"),
    ("gap", top("on_gap: ignore"), "7: on_gap: must be fail or resnapshot, not `ignore`"),
    ("gap's key", top("on_gap:\n  table: {}"), "8: on_gap.table: is not a key of `on_gap`; did you mean `tables`?"),
    ("gap of a table", top("on_gap:\n  tables: {orders: ignore}"), "8: on_gap.tables.orders: must be fail or resnapshot, not `ignore`"),
    ("gap of no name", top("on_gap:\n  tables: {ab: fail}"), f"8: on_gap.tables.ab: `ab` cannot be a table's name; {TABLE_REMEDY}"),
    # keys that contradict each other
    ("gap of another table", top("on_gap:\n  tables: {order: fail}"), "8: on_gap.tables.order: `order` is no table of the pipeline; did you mean `orders`?"),
    ("poll", source("poll:\n  min: 2s"), "7: source.poll: has a `min` above its `max`; swap them"),
    ("external id", source("external_id: abc"), "7: source.external_id: has no use without a role; add `role_arn`, or leave it out"),
    ("batch", top("batch:\n  bytes: 128MiB"), "8: batch.bytes: is more than `buffer`, so no batch could fill; raise `buffer` or lower it"),
    ("topics alike", GOOD.replace('"users-*"', "or.ders, or_ders"), "6: source.tables[2]: the topic `shop.or_ders` of table or_ders cannot be made beside `shop.or.ders`: to Kafka `.` and `_` are alike; give one of them another topic, with `topic` or a `route` of `transform`, or leave it out with `exclude`"),
    ("table twice", GOOD.replace("users-*", "orders"), "6: source.tables[1]: `orders` is given twice; keep one"),
    ("left out", source("exclude: [orders]"), "6: source.tables[0]: `orders` is also left out by `exclude`; keep it in one of them"),
    ("one topic", top("topic: all"), "7: topic: would put several tables into one topic; put `{table}` into it: items of different tables can have the same key"),
    ("checkpoints", GOOD.replace("orders", "checkpoints"), "6: source.tables[0]: the topic of table checkpoints would be `shop.checkpoints`, that of the checkpoints; give `topic` another form, e.g. `{pipeline}.table.{table}`"),
    ("dead letters", GOOD.replace("orders", "dead-letters"), "6: source.tables[0]: the topic of table dead-letters would be `shop.dead-letters`, that of the dead letters; give `topic` another form, e.g. `{pipeline}.table.{table}`"),
    ("dead letters in checkpoints", top("dead_letters: shop.checkpoints"), "7: dead_letters: is the topic of the checkpoints; give another name"),
    ("topic too long", GOOD.replace("orders", "t" * 245), f"6: source.tables[0]: the topic of table {'t' * 245} would be `shop.{'t' * 52}...`; {TOPIC_RULE}"),
    ("window and factor", top("lambda: {parallelization_factor: 2}"), "7: lambda.parallelization_factor: is above 1 together with a window, which AWS refuses; set `window: 0s` to publish at least once, or leave `parallelization_factor` at 1 for exactly once"),
    ("half a second", top("lambda: {timeout: 1500ms}"), "7: lambda.timeout: must be a whole number of seconds; Lambda counts in seconds"),
    ("half a MiB", top("lambda: {memory: 200MB}"), "7: lambda.memory: must be a whole number of MiB; Lambda counts in MiB"),
    ("function's name", top("lambda: {name: a.b}"), "7: lambda.name: `a.b` cannot be a function's name; use 1 to 64 letters, digits, `-` and `_`"),
    ("destination", top("lambda: {on_failure: topic}"), "7: lambda.on_failure: must be `queue`, `none` or the ARN of a queue of SQS, not `topic`; write e.g. `arn:aws:sqs:us-east-1:123456789012:failures`"),
    ("subnet", top("lambda: {vpc: {subnets: [a]}}"), "7: lambda.vpc.subnets[0]: `a` is not a subnet; write e.g. `subnet-0123456789abcdef0`"),
    ("security group", top("lambda: {vpc: {security_groups: [a]}}"), "7: lambda.vpc.security_groups[0]: `a` is not a security group; write e.g. `sg-0123456789abcdef0`"),
    # Kafka's properties
    ("no brokers", GOOD.replace("  bootstrap.servers: localhost:9092\n", "  client.id: x\n"), "2: kafka.bootstrap.servers: is missing; add e.g. `bootstrap.servers: localhost:9092` below `kafka:`"),
    ("bad brokers", GOOD.replace("localhost:9092", "localhost 9092"), "3: kafka.bootstrap.servers: `localhost 9092` is not a list of brokers; write `host:port`, several with commas between"),
    ("unknown property", kafka("linger.msec: 5"), "4: kafka.linger.msec: is not a property that librdkafka knows; did you mean `linger.ms`?"),
    ("unknown, none near", kafka("zzz: 5"), f"4: kafka.zzz: is not a property that librdkafka knows; {SEE} for those that there are"),
    ("Java's", kafka("sasl.jaas.config: x"), "4: kafka.sasl.jaas.config: is a property of the Java clients, not of librdkafka; write `sasl.username` and `sasl.password`"),
    ("the protocol's", kafka("acks: 1"), "4: kafka.acks: cannot be set: exactly once needs every in-sync replica's answer and an idempotent producer; leave it out"),
    ("nested", "name: shop\nkafka:\n  bootstrap:\n    servers: x\n" + SOURCE + "  tables: [orders]\n", f"3: kafka.bootstrap: must be text, a number or true or false, not a mapping; {OWN_LINE}"),
    ("without value", kafka("client.id:"), "4: kafka.client.id: has no value; give one, or leave the key out"),
    ("value", kafka("linger.ms: fast"), f'4: kafka.linger.ms: librdkafka refuses it: Invalid value for configuration property "linger.ms"; {SEE} for what it takes'),
    ("out of range", kafka("batch.size: -1"), f'4: kafka.batch.size: librdkafka refuses it: Configuration property "batch.size" value -1 is outside allowed range 1..2147483647; {SEE} for what it takes'),
    ("Kerberos", kafka("security.protocol: sasl_ssl"), "2: kafka: librdkafka refuses it: No provider for SASL mechanism GSSAPI; it has PLAIN SASL_SCRAM OAUTHBEARER; set `sasl.mechanism` to PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM; for Kerberos install a confluent-kafka built with GSSAPI: pip install --no-binary confluent-kafka confluent-kafka"),
    ("login without SASL", kafka("sasl.mechanism: PLAIN"), "4: kafka.sasl.mechanism: has no effect without a security.protocol that begins with SASL_; add `security.protocol: SASL_SSL`, or SASL_PLAINTEXT without TLS"),
    ("IAM without SASL", kafka("sasl.mechanism: AWS_MSK_IAM"), "4: kafka.sasl.mechanism: has no effect without a security.protocol that begins with SASL_; add `security.protocol: SASL_SSL`"),
    ("role without IAM", kafka("sasl.aws.role.arn: x"), "4: kafka.sasl.aws.role.arn: has no effect without sasl.mechanism: AWS_MSK_IAM; set that mechanism, or leave it out"),
    ("id without role", kafka("security.protocol: sasl_ssl\nsasl.mechanism: aws_msk_iam\nsasl.aws.external.id: xy"), "6: kafka.sasl.aws.external.id: has no use without a role; add `sasl.aws.role.arn`"),
    ("command without OAuth", kafka("sasl.oauthbearer.token.command: x"), "4: kafka.sasl.oauthbearer.token.command: has no effect without sasl.mechanism: OAUTHBEARER; set it, or leave this out"),
    # schemas
    ("no registry", top("schema: {type: avro}"), "7: schema.registry: is missing; add e.g. `registry: {url: http://localhost:8081}`"),
    ("registry's address", top("schema: {type: avro, registry: http}"), "7: schema.registry: must be a mapping of properties of a schema registry's client, not text; write `url: http://localhost:8081` below it"),
    ("registry without URL", registry("proxy: http://p"), "7: schema.registry.url: is missing; add e.g. `url: http://localhost:8081` below `registry:`"),
    ("registry's URL", registry("url: localhost"), "7: schema.registry.url: `localhost` is not the URL of a schema registry; write e.g. `http://localhost:8081`"),
    ("registry's property", registry("url: http://r, basic.auth.info: x"), "7: schema.registry.basic.auth.info: is not a property of a schema registry's client; did you mean `basic.auth.user.info`?"),
    ("registry's user", registry("url: http://r, basic.auth.user.info: x"), "7: schema.registry.basic.auth.user.info: is not a user and a password; write them with a colon between"),
    ("no source of tokens", registry("url: http://r, bearer.auth.token: x"), "7: schema.registry.bearer.auth.token: says nothing of where tokens come from; add `bearer.auth.credentials.source`: OAUTHBEARER, OAUTHBEARER_AZURE_IMDS, STATIC_TOKEN"),
    ("source of tokens", registry("url: http://r, bearer.auth.credentials.source: OIDC"), "7: schema.registry.bearer.auth.credentials.source: must be OAUTHBEARER, OAUTHBEARER_AZURE_IMDS or STATIC_TOKEN, not `OIDC`"),
    ("no token", registry("url: http://r, bearer.auth.credentials.source: STATIC_TOKEN"), "7: schema.registry.bearer.auth.token: is missing; STATIC_TOKEN needs bearer.auth.token"),
    ("no logical cluster", registry("url: 'https://psrc-1.eu-west-1.aws.confluent.cloud', bearer.auth.credentials.source: STATIC_TOKEN, bearer.auth.token: t"), "7: schema.registry.bearer.auth.logical.cluster: is missing; STATIC_TOKEN needs bearer.auth.token, bearer.auth.logical.cluster"),
    ("two logins", registry("url: http://r, basic.auth.user.info: 'a:b', bearer.auth.credentials.source: OAUTHBEARER_AZURE_IMDS"), "7: schema.registry.basic.auth.user.info: is given beside a bearer token; keep one way to log in"),
    ("no certificate", registry("url: http://r, ssl.key.location: x"), "7: schema.registry.ssl.key.location: needs `ssl.certificate.location`; name the certificate, too"),
    ("numbers of documents", registry("url: http://r", "numbers: string"), "7: schema.numbers: means nothing with `mode: document`, which holds items as JSON text; leave it out; the pipeline's own key `numbers` says how JSON has numbers"),
    ("decimals in Protobuf", top("schema: {type: protobuf, mode: inferred, registry: {url: http://r}}"), "7: schema.numbers: is decimal, for which Protobuf has no type; write `numbers: string`, or `numbers: double`, which rounds to 15 to 17 digits"),
    ("converters beside inferred schemas", registry("url: http://r", "mode: inferred") + "connect: {value.converter: x}\n", "8: connect.value.converter: is given beside `schema`, which says how records are written; keep one"),
    ("inferred schemas of another format", registry("url: http://r", "mode: inferred") + "format: item\n", "7: schema: needs the format debezium, not item; take `format` out; Connect's transform ExtractNewRecordState, in `connect`, leaves the item alone"),
    ("no declared schema", registry("url: http://r", "mode: declared"), "7: schema.declared: the schema of the table orders is missing; add e.g. `orders: ${file:order.avsc}` below it"),
    ("a declared schema that is none", registry("url: http://r", "mode: declared, declared: {orders: '{}'}"), "7: schema.declared.orders: cannot be used: it is no schema in AVRO that can be read here; write the schema here, or e.g. `${file:order.avsc}`"),
    ("a declared text", registry("url: http://r", "mode: declared, declared: {orders: '\"string\"'}"), "7: schema.declared.orders: is that of a string; declare a record: an item is one"),
    ("a declared version", registry("url: http://r", "mode: declared, declared_versions: {orders: item}"), "7: schema.declared_versions.orders: `item` is no version of a subject; write e.g. `orders-item/3`"),
    ("declared beside inferred", registry("url: http://r", "mode: inferred, undeclared: ignore"), "7: schema.undeclared: means nothing with `mode: inferred`; set `mode: declared`"),
    ("converter without schemas", top("connect: {key.converter: org.apache.kafka.connect.storage.StringConverter, value.converter: io.confluent.connect.avro.AvroConverter, value.converter.schema.registry.url: 'http://r'}"), "7: connect.value.converter: needs schemas, and the records of the format debezium have none; leave the converters out, and write `schema: {type: avro, registry: {url: …}}`"),
    ("schema and connect", registry("url: http://r") + "connect: {value.converter: x}\n", "8: connect: makes records as Kafka Connect does, and `schema` with `mode: document` makes others; keep one of them; the converters of `connect` take a registry, too"),
    ("schemas twice", registry("url: http://r") + "format: trustpilot\n", "7: schema: has a document of its own for each format, and trustpilot has schemas already; leave `schema` out, and give `connect` the properties of the connector's converters"),
    # references
    ("no variable", top("format: ${env:TAILRACE_NOT_SET}"), "7: format: needs the environment variable TAILRACE_NOT_SET, which is not set; export TAILRACE_NOT_SET, or write the value"),
    ("neither", top('topic: "${table}"'), "7: topic: has a `${` that is none of `${env:NAME}`, `${file:PATH}` and `${secret:NAME}`; write `$${` for the two characters"),
    ("open reference", top('topic: "${env:X"'), "7: topic: has a `${` that is none of `${env:NAME}`, `${file:PATH}` and `${secret:NAME}`; write `$${` for the two characters"),
]  # fmt: skip


def sentences(path: Path) -> list[str]:
    with pytest.raises(FileErrors) as caught:
        load(path)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(("content", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_mistake_gives_one_sentence(
    content: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("pipeline.yaml").write_text(content)
    assert sentences(Path("pipeline.yaml")) == [f"pipeline.yaml:{expected}"]


def test_the_file_that_the_cases_are_made_of_is_right(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(GOOD)
    assert load(tmp_path / "p.yaml").pipeline.name == "shop"


def test_all_mistakes_are_told_in_the_order_of_the_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text(kafka("acks: 1\nlinger.msec: 2").replace("orders", "x y") + "lanes: 0\nformat: avro\n")
    found = sentences(Path("p.yaml"))
    assert [sentence.split(":")[1] for sentence in found] == ["4", "5", "8", "9", "10"]


def test_a_line_is_that_of_the_key_also_in_crlf_and_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + top("lanes: 0").replace("\n", "\r\n").encode())
    assert sentences(path) == [f"{path}:7: lanes: must be at least 1, not 0"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    assert sentences(path) == [f"{path}: there is no such file; give the path of a pipeline file"]


def test_a_directory(tmp_path: Path) -> None:
    assert sentences(tmp_path) == [f"{tmp_path}: is a directory; give the path of a pipeline file"]


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = tmp_path / "p.yaml"
    path.write_text(GOOD)
    path.chmod(0)
    assert sentences(path) == [f"{path}: cannot be read: permission denied; check the path and its permissions"]


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    assert sentences(tmp_path / "a\0b")[0].endswith(
        "cannot be read: the path is not valid; check the path and its permissions"
    )


def test_a_file_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"name: shop\n# caf\xe9\n")
    assert sentences(path) == [f"{path}:2: is not UTF-8 text; save it as UTF-8"]


def test_a_file_that_is_too_large_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("# much\n" * 60_000)
    assert sentences(path) == [f"{path}: is larger than 256 KiB; give the path of a pipeline file"]


def test_nesting_without_end(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("[" * 5_000)
    assert sentences(path) == [f"{path}: is nested deeper than 50 levels; a pipeline file needs four"]


def test_aliases_that_multiply(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{this}: &{this} [{', '.join([f'*{last}'] * 10)}]\n"
            for last, this in zip("abcdefgh", "bcdefghi", strict=True)
        )
    )
    assert sentences(path) == [f"{path}:1: an alias makes it endless, or it is nested too deep; write the values out"]


def test_a_file_error_ends_with_the_exit_code_for_files() -> None:
    assert issubclass(FileErrors, FileError)
    assert EXIT_FILE == 2
