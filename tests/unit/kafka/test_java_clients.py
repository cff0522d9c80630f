"""Properties of Kafka's Java clients in librdkafka's words: what is renamed, what means nothing, what is refused."""

from __future__ import annotations

import pytest

from tailrace.kafka import properties
from tailrace.kafka.java_clients import translate

PLAIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required username="me" password="a\\"b; c" ;'
OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required clientId='id' clientSecret=s;"
MSK = "software.amazon.msk.auth.iam.IAMLoginModule required;"


@pytest.mark.parametrize(
    ("java", "librdkafka"),
    [
        ({"sasl.jaas.config": PLAIN}, {"sasl.username": "me", "sasl.password": 'a"b; c'}),
        (
            {"sasl.jaas.config": OAUTH, "sasl.oauthbearer.token.endpoint.url": "https://idp/token"},
            {
                "sasl.oauthbearer.method": "oidc",
                "sasl.oauthbearer.client.id": "id",
                "sasl.oauthbearer.client.secret": "s",
                "sasl.oauthbearer.token.endpoint.url": "https://idp/token",
            },
        ),
        ({"sasl.jaas.config": MSK}, {"sasl.mechanism": "AWS_MSK_IAM"}),
        (
            {"sasl.jaas.config": MSK.replace(";", ' awsRoleArn="arn:r" awsRoleExternalId=x awsProfileName="p";')},
            {
                "sasl.mechanism": "AWS_MSK_IAM",
                "sasl.aws.role.arn": "arn:r",
                "sasl.aws.external.id": "x",
                "sasl.aws.profile": "p",
            },
        ),
        (
            {"sasl.client.callback.handler.class": "software.amazon.msk.auth.iam.IAMClientCallbackHandler"},
            {"sasl.mechanism": "AWS_MSK_IAM"},
        ),
        ({"ssl.truststore.type": "PEM", "ssl.truststore.location": "/ca.pem"}, {"ssl.ca.location": "/ca.pem"}),
        ({"ssl.truststore.certificates": "-----BEGIN…"}, {"ssl.ca.pem": "-----BEGIN…"}),
        (
            {"ssl.keystore.type": "PEM", "ssl.keystore.location": "/me.pem", "ssl.key.password": "p"},
            {"ssl.certificate.location": "/me.pem", "ssl.key.location": "/me.pem", "ssl.key.password": "p"},
        ),
        (
            {"ssl.keystore.type": "PKCS12", "ssl.keystore.location": "/me.p12", "ssl.keystore.password": "p"},
            {"ssl.keystore.location": "/me.p12", "ssl.keystore.password": "p"},
        ),
        ({"ssl.endpoint.identification.algorithm": ""}, {"ssl.endpoint.identification.algorithm": "none"}),
        ({"ssl.endpoint.identification.algorithm": "HTTPS"}, {"ssl.endpoint.identification.algorithm": "https"}),
        ({"buffer.memory": "33554432"}, {"queue.buffering.max.kbytes": "32768"}),
        ({"max.request.size": "1048576"}, {"message.max.bytes": "1048576"}),
        ({"producer.linger.ms": "20", "linger.ms": "5"}, {"linger.ms": "20"}),
        ({"consumer.fetch.min.bytes": "2"}, {"fetch.min.bytes": "2"}),
        ({"statistics.interval.ms": "0"}, {"statistics.interval.ms": "0"}),
    ],
)
def test_what_librdkafka_has_is_passed_on(java: dict[str, str], librdkafka: dict[str, str]) -> None:
    done = translate(java)
    assert done.properties == librdkafka
    assert not done.refused
    assert set(done.origins) == set(librdkafka)
    assert not properties.unknown(set(librdkafka) - {"sasl.mechanism"})


@pytest.mark.parametrize(
    "name",
    [
        "acks",
        "value.serializer",
        "offset.storage.topic",
        "plugin.path",
        "max.block.ms",
        "sasl.login.refresh.window.factor",
        "sasl.oauthbearer.jwks.endpoint.url",
        "ssl.protocol",
    ],
)
def test_what_means_nothing_is_told_with_the_reason(name: str) -> None:
    done = translate({name: "x"})
    assert not done.properties
    assert done.notes[name]


@pytest.mark.parametrize(
    ("java", "name", "message"),
    [
        ({"sasl.jaas.config": "me, secret"}, "sasl.jaas.config", "is not one login module"),
        (
            {"sasl.jaas.config": "com.example.OwnModule required a=b;"},
            "sasl.jaas.config",
            "has the login module OwnModule",
        ),
        ({"sasl.jaas.config": PLAIN.replace(" ;", " x=y;")}, "sasl.jaas.config", "has the option x"),
        ({"sasl.login.callback.handler.class": "com.example.Own"}, "sasl.login.callback.handler.class", "only Java"),
        ({"ssl.truststore.location": "/ca.jks"}, "ssl.truststore.location", "is a JKS truststore"),
        ({"ssl.keystore.location": "/me.jks"}, "ssl.keystore.location", "is a JKS keystore"),
    ],
)
def test_what_only_java_can_read_is_refused(java: dict[str, str], name: str, message: str) -> None:
    done = translate(java)
    assert message in done.refused[name].message
    assert done.refused[name].hint


def test_clients_that_differ_are_told() -> None:
    done = translate({"producer.client.id": "p", "consumer.client.id": "c"})
    assert done.properties == {"client.id": "p"}
    assert "one set of properties" in done.notes["consumer.client.id"]


def test_converters_of_a_worker_are_left_to_connectors() -> None:
    assert translate({"key.converter": "x", "key.converter.schemas.enable": "true", "transforms": "a"}).properties == {}
