"""What schemathesis does not know by itself: how to write NDJSON and a signed token."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson", "application/ndjson", "application/jsonl")
def ndjson(context, value):
    if isinstance(value, (bytes, str)):
        return value
    lines = value if isinstance(value, list) else [value]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


@schemathesis.serializer("application/secevent+jwt", "application/cloudevents+json", "application/cloudevents-batch+json")
def as_it_is(context, value):
    if isinstance(value, (bytes, str)):
        return value
    return json.dumps(value).encode()
