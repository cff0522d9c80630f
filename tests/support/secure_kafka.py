"""One real broker that clients may log in to in every way that can be had here, with rights (StandardAuthorizer)."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from support import tls
from support.kafka_clients import TIMEOUT_S, client
from support.oidc_issuer import AUDIENCE, CLIENT, SECRET, Issuer
from tailrace.local.kafka import KafkaBroker
from tailrace.local.service import free_ports

SCRAM_USER, SCRAM_PASSWORD = "sam", "sam-secret"
PASSWORDS = {"admin": "admin-secret", "worker": "worker-secret"}
_SCRAMS = {"SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256, "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512}
_OAUTHBEARER = "org.apache.kafka.common.security.oauthbearer"


class SecureKafka(KafkaBroker):
    """Its users: `admin` and `worker` (PLAIN), `sam` (SCRAM), CN=worker (mTLS), `tailrace` (OIDC).

    All but `worker` may do everything.
    """

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self.ports = dict(zip(("SCRAM", "MTLS", "OIDC"), free_ports(3), strict=True))
        super().__init__(users=PASSWORDS, proxy_port=free_ports(1)[0])

    def login(self, way: str) -> dict[str, str]:
        """Return a client's properties for a way to log in: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, SSL, OIDC."""
        if way == "PLAIN":
            return self.client_properties("worker")
        if way in _SCRAMS:
            return {
                "bootstrap.servers": f"127.0.0.1:{self.ports['SCRAM']}",
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": way,
                "sasl.username": SCRAM_USER,
                "sasl.password": SCRAM_PASSWORD,
                "ssl.ca.location": str(tls.CA),
            }
        if way == "SSL":
            return {
                "bootstrap.servers": f"127.0.0.1:{self.ports['MTLS']}",
                "security.protocol": "SSL",
                "ssl.ca.location": str(tls.CA),
                "ssl.certificate.location": str(tls.WORKER),
                "ssl.key.location": str(tls.WORKER),
            }
        return {
            "bootstrap.servers": f"127.0.0.1:{self.ports['OIDC']}",
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": CLIENT,
            "sasl.oauthbearer.client.secret": SECRET,
            "sasl.oauthbearer.token.endpoint.url": f"{self._issuer.url}/token",
        }

    def token_command(self) -> dict[str, str]:
        """Return the properties of a client whose tokens a command fetches from the issuer."""
        oidc = {name: value for name, value in self.login("OIDC").items() if not name.startswith("sasl.oauthbearer")}
        return {**oidc, "sasl.oauthbearer.token.command": self._issuer.command()}

    def add_scram_user(self) -> None:
        """Make `sam`, with a password for each mechanism."""
        admin = AdminClient(client(self.client_properties()))
        for mechanism in _SCRAMS.values():
            info = ScramCredentialInfo(mechanism, 4096)
            made = UserScramCredentialUpsertion(SCRAM_USER, info, SCRAM_PASSWORD.encode())
            admin.alter_user_scram_credentials([made])[SCRAM_USER].result(TIMEOUT_S)

    def _java_options(self) -> list[str]:
        urls = f"{self._issuer.url}/jwks"
        return [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={urls}", *super()._java_options()]

    def _server_config(self) -> dict[str, str]:
        config = super()._server_config()
        protocols = {"SCRAM": "SASL_SSL", "MTLS": "SSL", "OIDC": "SASL_PLAINTEXT"}
        for key in ("listeners", "advertised.listeners"):
            config[key] += "".join(f",{name}://127.0.0.1:{port}" for name, port in self.ports.items())
        kinds = config["listener.security.protocol.map"].replace("PROXY:SASL_PLAINTEXT", "PROXY:PLAINTEXT")
        config["listener.security.protocol.map"] = kinds + "".join(
            f",{name}:{kind}" for name, kind in protocols.items()
        )
        config["super.users"] += f";User:{SCRAM_USER};User:CN=worker;User:{CLIENT}"
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return config | {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(tls.BROKER),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(tls.CA),
            "listener.name.mtls.ssl.client.auth": "required",
            "listener.name.scram.sasl.enabled.mechanisms": ",".join(_SCRAMS),
            **{f"listener.name.scram.{name.lower()}.sasl.jaas.config": scram for name in _SCRAMS},
            "listener.name.oidc.sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.oidc.oauthbearer.sasl.jaas.config": f"{_OAUTHBEARER}.OAuthBearerLoginModule required;",
            "listener.name.oidc.oauthbearer.sasl.server.callback.handler.class": (
                f"{_OAUTHBEARER}.OAuthBearerValidatorCallbackHandler"
            ),
            # By default Kafka 4.1.0 checks a token as its clients do: neither signature, nor audience, nor issuer.
            "listener.name.oidc.sasl.oauthbearer.jwt.validator.class": f"{_OAUTHBEARER}.BrokerJwtValidator",
            "listener.name.oidc.sasl.oauthbearer.jwks.endpoint.url": f"{self._issuer.url}/jwks",
            # A session ends with its token, at the latest.
            "listener.name.oidc.oauthbearer.connections.max.reauth.ms": "3600000",
            "listener.name.oidc.sasl.oauthbearer.expected.audience": AUDIENCE,
            "listener.name.oidc.sasl.oauthbearer.expected.issuer": self._issuer.url,
        }
