"""DynamoDB's operations on tables and items: a request in, the answer's fields out. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from tailrace_simulator import requests
from tailrace_simulator.attribute_values import ITEM_BYTES_MAX, Item, item_size, normal_item
from tailrace_simulator.aws_error import AwsError, invalid
from tailrace_simulator.conditions import parse_condition
from tailrace_simulator.expressions import Path, Placeholders, Tokens
from tailrace_simulator.faults import Decision, Fault
from tailrace_simulator.read_capacity import exceeded, units_of
from tailrace_simulator.streams import ViewType
from tailrace_simulator.tables import Database, Key, KeyAttribute, Table
from tailrace_simulator.updates import Update

Answer = dict[str, Any]
_BATCH_MAX = 25
_BATCH_READ_MAX = 100
_BATCH_READ_BYTES = 16 * 1024 * 1024
_TABLES_MAX = 100
_SEGMENTS_MAX = 1_000_000


class _BatchRead(NamedTuple):
    """The items of one table that a batch reads."""

    table: Table
    wanted: requests.KeysAndAttributes
    names: list[str] | None
    """The attributes to show; None for all."""
    keys: dict[Key, dict[str, Any]]
    """Each key as the table and as the request has it."""


class TableOperations:
    """One method an operation, named as AWS names it, in small letters. All raise `AwsError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create_table(self, request: requests.CreateTable, now_ms: int) -> Answer:
        """Make a table that is ACTIVE at once."""
        kinds = {definition.attribute_name: definition.attribute_type for definition in request.attribute_definitions}
        roles = [element.key_type for element in request.key_schema]
        names = [element.attribute_name for element in request.key_schema]
        if roles not in (["HASH"], ["HASH", "RANGE"]):
            raise invalid("Invalid KeySchema: it must be one HASH attribute and at most one RANGE attribute after it")
        if missing := [name for name in names if name not in kinds]:
            raise invalid(
                "One or more parameter values were invalid: Some index key attributes are not defined in "
                f"AttributeDefinitions. Keys: {missing}, AttributeDefinitions: {[*kinds]}"
            )
        if {*kinds} != {*names}:
            raise invalid(
                "One or more parameter values were invalid: Number of attributes in KeySchema does not exactly match "
                "number of attributes defined in AttributeDefinitions"
            )
        throughput = request.provisioned_throughput
        if (throughput is None) is (request.billing_mode == "PROVISIONED"):
            raise invalid(
                "One or more parameter values were invalid: ReadCapacityUnits and WriteCapacityUnits must both be "
                "specified when BillingMode is PROVISIONED, and neither when it is PAY_PER_REQUEST"
            )
        view_type = _view_type(request.stream_specification) if request.stream_specification else None
        attributes = zip(names, roles, strict=True)
        key_attributes = tuple(KeyAttribute(name, role, kinds[name]) for name, role in attributes)
        units = (throughput.read_capacity_units, throughput.write_capacity_units) if throughput else (0, 0)
        table = self._database.create_table(request.table_name, key_attributes, now_ms, units)
        if view_type is not None:
            self._database.switch_on(table, view_type, now_ms)
        table.set_tags({tag.key: tag.value for tag in request.tags}, now_ms)
        return {"TableDescription": _description(table)}

    def describe_table(self, request: requests.DescribeTable, now_ms: int) -> Answer:
        """Show a table."""
        return {"Table": _description(self._database.table(request.table_name))}

    def delete_table(self, request: requests.DeleteTable, now_ms: int) -> Answer:
        """Drop a table; its stream stays for its retention."""
        description = _description(self._database.table(request.table_name))
        self._database.delete_table(request.table_name, now_ms)
        return {"TableDescription": description | {"TableStatus": "DELETING"}}

    def update_table(self, request: requests.UpdateTable, now_ms: int) -> Answer:
        """Switch the stream on or off."""
        table = self._database.table(request.table_name)
        if request.stream_specification is None:
            raise invalid("At least one of StreamSpecification must be given: the simulator changes nothing else")
        view_type = _view_type(request.stream_specification)
        if view_type is None:
            if table.stream is None:
                raise invalid("Table has no stream to disable")
            self._database.switch_off(table, now_ms)
        elif table.stream is not None:
            raise invalid(f"Table already has an enabled stream: TableName: {table.name}")
        else:
            self._database.switch_on(table, view_type, now_ms)
        return {"TableDescription": _description(table)}

    def list_tables(self, request: requests.ListTables, now_ms: int) -> Answer:
        """List the tables' names in their order."""
        requests.check_range(request.limit, "limit", _TABLES_MAX)
        start = request.exclusive_start_table_name
        names = [name for name in sorted(self._database.tables) if start is None or name > start]
        page = names[: request.limit]
        more = {"LastEvaluatedTableName": page[-1]} if len(names) > len(page) else {}
        return {"TableNames": page} | more

    def update_time_to_live(self, request: requests.UpdateTimeToLive, now_ms: int) -> Answer:
        """Switch Time to Live on or off, at once."""
        table = self._database.table(request.table_name)
        wanted = request.time_to_live_specification
        if wanted.enabled is (table.ttl_attribute is not None):
            raise invalid(f"TimeToLive is already {'enabled' if wanted.enabled else 'disabled'}")
        table.ttl_attribute = wanted.attribute_name if wanted.enabled else None
        return {"TimeToLiveSpecification": {"Enabled": wanted.enabled, "AttributeName": wanted.attribute_name}}

    def describe_time_to_live(self, request: requests.DescribeTimeToLive, now_ms: int) -> Answer:
        """Show whether Time to Live is on."""
        attribute = self._database.table(request.table_name).ttl_attribute
        if attribute is None:
            return {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
        return {"TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": attribute}}

    def put_item(self, request: requests.PutItem, now_ms: int) -> Answer:
        """Put an item in place of what has its key."""
        table = self._database.table(request.table_name)
        _check_return_values(request, "NONE", "ALL_OLD")
        item = normal_item(request.item)
        key = table.key_of_item(item)
        before = table.get(key)
        placeholders = _placeholders(request)
        _check_condition(request, placeholders, before)
        table.write(key, item, now_ms)
        return _written(request, before, item, [])

    def update_item(self, request: requests.UpdateItem, now_ms: int) -> Answer:
        """Change an item, or make it."""
        table = self._database.table(request.table_name)
        key, keys = table.key_of(request.key)
        placeholders = _placeholders(request, request.update_expression)
        update = Update(request.update_expression, placeholders) if request.update_expression is not None else None
        before = table.get(key)
        _check_condition(request, placeholders, before)
        paths = update.paths if update else []
        for path in paths:
            if path[0] in table.key_names:
                raise invalid(
                    f"One or more parameter values were invalid: Cannot update attribute {path[0]}. "
                    "This attribute is part of the key"
                )
        after = update.apply(before or keys) if update else before or keys
        if item_size(after) > ITEM_BYTES_MAX:
            raise invalid("Item size to update has exceeded the maximum allowed size")
        table.write(key, after, now_ms)
        return _written(request, before, after, paths)

    def delete_item(self, request: requests.DeleteItem, now_ms: int) -> Answer:
        """Delete an item."""
        table = self._database.table(request.table_name)
        _check_return_values(request, "NONE", "ALL_OLD")
        key, _ = table.key_of(request.key)
        before = table.get(key)
        placeholders = _placeholders(request)
        _check_condition(request, placeholders, before)
        table.write(key, None, now_ms)
        return _written(request, before, None, [])

    def get_item(self, request: requests.GetItem, now_ms: int) -> Answer:
        """Get an item as it is now."""
        table = self._database.table(request.table_name)
        key, _ = table.key_of(request.key)
        table.read_capacity.check(now_ms)
        item = table.get(key)
        placeholders = Placeholders(request.expression_attribute_names, None)
        paths = _projection(request.projection_expression, placeholders)
        placeholders.check_used()
        answer: Answer = {} if item is None else {"Item": _projected(item, paths)}
        units = units_of([item or {}], consistent=request.consistent_read)
        table.read_capacity.spend(units)
        return answer | _capacity(request.return_consumed_capacity, {table.name: units})

    def batch_get_item(self, request: requests.BatchGetItem, now_ms: int, decision: Decision) -> Answer:
        """Get items as they are now, in any order; those that there is no room or capacity for are named instead."""
        if not request.request_items:
            raise invalid("The requestItems parameter is required for BatchGetItem")
        if sum(len(wanted.keys) for wanted in request.request_items.values()) > _BATCH_READ_MAX:
            raise invalid("Too many items requested for the BatchGetItem call")
        plans = [self._batch_read(name, wanted) for name, wanted in request.request_items.items()]
        left = sum(len(plan.keys) for plan in plans)
        if Fault.UNPROCESSED in decision.faults:
            left = decision.random.randrange(left)
        answer: Answer = {"Responses": {}, "UnprocessedKeys": {}}
        units: dict[str, float] = {}
        size = 0
        for plan in plans:
            table, found, unprocessed = plan.table, [], []
            for key, named in plan.keys.items():
                item = table.get(key)
                size += item_size(item or {})
                if left == 0 or size > _BATCH_READ_BYTES or not table.read_capacity.has_any(now_ms):
                    unprocessed.append(named)
                    continue
                left -= 1
                cost = units_of([item or {}], consistent=plan.wanted.consistent_read)
                table.read_capacity.spend(cost)
                units[table.name] = units.get(table.name, 0) + cost
                if item is not None:
                    found.append(_projected(item, plan.names))
            answer["Responses"][table.name] = found
            if unprocessed:
                asked: Answer = msgspec.to_builtins(plan.wanted)
                answer["UnprocessedKeys"][table.name] = {
                    name: value for name, value in asked.items() if value is not None
                } | {"Keys": unprocessed}
        if not units:
            raise exceeded()
        return answer | _capacity(request.return_consumed_capacity, units, plural=True)

    def _batch_read(self, name: str, wanted: requests.KeysAndAttributes) -> _BatchRead:
        table = self._database.table(name)
        if not wanted.keys:
            raise invalid(f"The batch get request list for a table cannot be null or empty: {name}")
        placeholders = Placeholders(wanted.expression_attribute_names, None)
        names = _projection(wanted.projection_expression, placeholders)
        placeholders.check_used()
        keys = {table.key_of(key)[0]: key for key in wanted.keys}
        if len(keys) < len(wanted.keys):
            raise invalid("Provided list of item keys contains duplicates")
        return _BatchRead(table, wanted, names, keys)

    def batch_write_item(self, request: requests.BatchWriteItem, now_ms: int) -> Answer:
        """Put and delete items, all of them or, when one is refused, none."""
        if not request.request_items:
            raise invalid("The requestItems parameter is required for BatchWriteItem")
        if sum(map(len, request.request_items.values())) > _BATCH_MAX:
            raise invalid("Too many items requested for the BatchWriteItem call")
        writes: dict[tuple[str, Key], tuple[Table, Item | None]] = {}
        units: dict[str, float] = {}
        for name, wanted in request.request_items.items():
            table = self._database.table(name)
            if not wanted:
                raise invalid(f"The batch write request list for a table cannot be null or empty: {name}")
            for write in wanted:
                key, item = _batched(table, write)
                if (name, key) in writes:
                    raise invalid("Provided list of item keys contains duplicates")
                writes[name, key] = table, item
                units[name] = units.get(name, 0) + _write_units(item or table.get(key) or {})
        for (_, key), (table, item) in writes.items():
            table.write(key, item, now_ms)
        return {"UnprocessedItems": {}} | _capacity(request.return_consumed_capacity, units, plural=True)

    def scan(self, request: requests.Scan, now_ms: int) -> Answer:
        """Return the next page of a table or of one segment."""
        table = self._database.table(request.table_name)
        segment, segments = _segment(request)
        if request.limit is not None:
            requests.check_range(request.limit, "limit", 2**31 - 1)
        start = None if request.exclusive_start_key is None else table.key_of(request.exclusive_start_key)[1]
        placeholders = _placeholders(request, request.filter_expression, request.projection_expression)
        paths = _projection(request.projection_expression, placeholders)
        condition = None
        if request.filter_expression is not None:
            condition = parse_condition(request.filter_expression, placeholders, "FilterExpression")
        placeholders.check_used()
        table.read_capacity.check(now_ms)
        page = table.scan(request.limit, start, segment, segments)
        found = [item for item in page.items if condition is None or condition(item)]
        answer: Answer = {"Count": len(found), "ScannedCount": len(page.items)}
        if request.select != "COUNT":
            answer["Items"] = [_projected(item, paths) for item in found]
        if page.last is not None:
            answer["LastEvaluatedKey"] = page.last
        units = units_of(page.items, consistent=request.consistent_read)
        table.read_capacity.spend(units)
        return answer | _capacity(request.return_consumed_capacity, {table.name: units})


def _description(table: Table) -> Answer:
    created_s = table.created_ms / 1000
    units = {"ReadCapacityUnits": table.read_capacity.units_per_second, "WriteCapacityUnits": table.write_units}
    description: Answer = {
        "TableName": table.name,
        "TableArn": table.arn,
        "TableStatus": "ACTIVE",
        "CreationDateTime": created_s,
        "ItemCount": table.count(),
        "TableSizeBytes": table.size_bytes,
        "KeySchema": key_schema(table.key_attributes),
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, _, kind in table.key_attributes
        ],
        "ProvisionedThroughput": {"NumberOfDecreasesToday": 0} | units,
        "DeletionProtectionEnabled": False,
    }
    if not table.read_capacity.units_per_second:
        description["BillingModeSummary"] = {
            "BillingMode": "PAY_PER_REQUEST",
            "LastUpdateToPayPerRequestDateTime": created_s,
        }
    if table.latest_stream is not None:
        description |= {"LatestStreamArn": table.latest_stream.arn, "LatestStreamLabel": table.latest_stream.label}
    if table.stream is not None:
        description["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": table.stream.view_type}
    return description


def key_schema(key_attributes: tuple[KeyAttribute, ...]) -> list[dict[str, str]]:
    """Return a primary key as AWS writes it."""
    return [{"AttributeName": name, "KeyType": role} for name, role, _ in key_attributes]


def _view_type(wanted: requests.StreamSpecification) -> ViewType | None:
    """Return the view type of the stream that is wanted; None when none is."""
    if wanted.stream_enabled and wanted.stream_view_type is None:
        raise invalid("Invalid StreamViewType: Stream ViewType must not be null or empty when enabling streams.")
    if not wanted.stream_enabled and wanted.stream_view_type is not None:
        raise invalid("Invalid StreamViewType: Stream StreamEnabled was false but a StreamViewType was present.")
    return wanted.stream_view_type


_Writing = requests.PutItem | requests.UpdateItem | requests.DeleteItem


def _check_return_values(request: _Writing, *possible: str) -> None:
    if request.return_values not in possible:
        raise invalid("Return values set to invalid value")


def _placeholders(request: _Writing | requests.Scan, *more: str | None) -> Placeholders:
    """Return the request's placeholders, which need an expression to be used in; `more` than the condition."""
    condition = None if isinstance(request, requests.Scan) else request.condition_expression
    if all(expression is None for expression in (condition, *more)):
        for name, given in (
            ("Names", request.expression_attribute_names),
            ("Values", request.expression_attribute_values),
        ):
            if given is not None:
                raise invalid(f"ExpressionAttribute{name} can only be specified when using expressions")
    return Placeholders(request.expression_attribute_names, request.expression_attribute_values)


def _check_condition(request: _Writing, placeholders: Placeholders, item: Item | None) -> None:
    """Check the request's condition, the last of its expressions that is parsed."""
    condition = None
    if request.condition_expression is not None:
        condition = parse_condition(request.condition_expression, placeholders)
    placeholders.check_used()
    if condition is None or condition(item or {}):
        return
    shown = item is not None and request.return_values_on_condition_check_failure == "ALL_OLD"
    raise AwsError(
        "ConditionalCheckFailedException",
        "The conditional request failed",
        fields={"Item": item} if shown else None,
    )


def _written(request: _Writing, before: Item | None, after: Item | None, paths: list[Path]) -> Answer:
    """Make the answer of a write: the attributes that were asked for, and the capacity."""
    image = after if request.return_values.endswith("NEW") else before
    answer: Answer = {}
    if request.return_values.startswith("UPDATED"):
        names = dict.fromkeys(str(path[0]) for path in paths)
        image = {name: image[name] for name in names if name in image} if image else None
    if request.return_values != "NONE" and image:
        answer["Attributes"] = image
    units = max(_write_units(before or {}), _write_units(after or {}))
    return answer | _capacity(request.return_consumed_capacity, {request.table_name: units})


def _batched(table: Table, write: requests.WriteRequest) -> tuple[Key, Item | None]:
    if (write.put_request is None) is (write.delete_request is None):
        raise invalid(
            "Supplied AttributeValue has more than one datatypes set: a write is a PutRequest or a DeleteRequest"
        )
    if write.put_request is not None:
        item = normal_item(write.put_request.item)
        return table.key_of_item(item), item
    return table.key_of(write.delete_request.key if write.delete_request else None)[0], None


def _segment(request: requests.Scan) -> tuple[int, int]:
    """Return which segment of how many is scanned."""
    if request.segment is None and request.total_segments is None:
        return 0, 1
    if request.segment is None or request.total_segments is None:
        raise invalid("Segment and TotalSegments must be specified together")
    requests.check_range(request.total_segments, "totalSegments", _SEGMENTS_MAX)
    if not 0 <= request.segment < request.total_segments:
        raise requests.constraint(
            str(request.segment),
            "segment",
            f"Member must have value less than or equal to {request.total_segments - 1}",
        )
    return request.segment, request.total_segments


def _projection(text: str | None, placeholders: Placeholders) -> list[str] | None:
    """Return the attributes of a projection expression; None for all."""
    if text is None:
        return None
    tokens = Tokens(text, "ProjectionExpression", placeholders)
    paths = [tokens.path()]
    while tokens.take(","):
        paths.append(tokens.path())
    tokens.end()
    if any(len(path) > 1 for path in paths):
        raise tokens.error("the simulator projects whole attributes only")
    return [str(path[0]) for path in paths]


def _projected(item: Item, names: list[str] | None) -> Item:
    return item if names is None else {name: item[name] for name in names if name in item}


def _write_units(item: Item) -> float:
    return float(max(1, -(-item_size(item) // 1024)))


def _capacity(wanted: str, units: dict[str, float], *, plural: bool = False) -> Answer:
    if wanted == "NONE":
        return {}
    consumed = [{"TableName": name, "CapacityUnits": count} for name, count in units.items()]
    return {"ConsumedCapacity": consumed if plural else consumed[0]}
