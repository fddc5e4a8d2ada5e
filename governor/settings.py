"""How this instance runs. Order: command line > environment (GOVERNOR_*) > YAML file > secrets > default.

What may be governed and how far is not said here but in policies. `mode: enforce` is never a default: it has
to be set, and even then only knobs whose policy says enforce are written.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic.types import PositiveFloat
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

ENV_PREFIX = "GOVERNOR_"
DELIMITER = "__"


class RunMode(StrEnum):
    """Whether this instance may write at all."""

    RECOMMEND = "recommend"
    ENFORCE = "enforce"


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PrometheusSettings(_Group):
    """Where and how Prometheus (or Thanos, Mimir, VictoriaMetrics) is asked."""

    url: AnyHttpUrl | None = Field(None, description="base address, for example http://127.0.0.1:9090")
    dialect: Literal[
        "auto", "istio", "linkerd", "envoy-gateway", "hubble", "knative", "envoy", "opentelemetry"
    ] = Field("istio", description="whose metric names (docs/dialects.md); auto looks which are there")
    timeout_s: PositiveFloat = Field(10.0, description="longest wait for one answer, seconds")
    bearer_token: SecretStr | None = Field(None, description="sent as Authorization: Bearer ...")
    bearer_token_file: Path | None = Field(None, description="read before each cycle; instead of bearer_token")
    ca_file: Path | None = Field(None, description="certificate authority for TLS; default: the system's")
    insecure_skip_verify: bool = Field(default=False, description="do not check the server's certificate")
    headers: dict[str, str] = Field(
        default_factory=dict, description="extra headers, for example X-Scope-OrgID for a Mimir tenant"
    )

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if self.bearer_token and self.bearer_token_file:
            raise ValueError("give bearer_token or bearer_token_file, not both")
        return self


class EnvoySettings(_Group):
    """Envoys whose /stats/prometheus is read directly, and services that report capacity."""

    admin_urls: tuple[AnyHttpUrl, ...] = Field((), description="admin addresses, one for each Envoy")
    workload_urls: tuple[AnyHttpUrl, ...] = Field(
        (), description="metrics pages of the services (CPU, completions); optional"
    )
    timeout_s: PositiveFloat = Field(2.0, description="longest wait for one page, seconds")


class SourceSettings(_Group):
    """Where frames come from."""

    kind: Literal["prometheus", "envoy"] = Field("prometheus", description="prometheus or envoy")
    prometheus: PrometheusSettings = PrometheusSettings()
    envoy: EnvoySettings = EnvoySettings()


class KubernetesSettings(_Group):
    """Which cluster is governed, and how gently its API server is asked."""

    kubeconfig: Path | None = Field(
        None, description="default: the pod's service account, else $KUBECONFIG or ~/.kube/config"
    )
    context: str | None = Field(None, description="context of the kubeconfig; default: its current one")
    namespace: str = Field("mesh-governor", description="the governor's own: before-images and lease")
    namespaces: tuple[str, ...] = Field((), description="only these are governed; default: all")
    meshes: tuple[str, ...] = Field((), description="only these are written; default: all that are installed")
    requests_per_second: PositiveFloat = Field(50.0, description="most requests to the API server, on average")
    burst: Annotated[int, Field(ge=1)] = Field(100, description="most requests at once")
    confirm_s: PositiveFloat = Field(10.0, description="longest wait for a controller to accept a change")


class LeadershipSettings(_Group):
    """Which of several replicas writes: the one that holds a Lease in `plane.kubernetes.namespace`.

    A write must end within `lease_duration_s - renew_deadline_s`, or another replica may lead when it arrives.
    """

    enabled: bool = Field(
        default=True,
        description="off only where there is one replica for certain; used where plane.kind is kubernetes",
    )
    name: str = Field("mesh-governor", description="name of the Lease")
    lease_duration_s: Annotated[int, Field(ge=2)] = Field(
        15, description="how long the others wait for a leader that says nothing, whole seconds"
    )
    renew_deadline_s: PositiveFloat = Field(
        10.0, description="how long after its last renewal a leader still begins a write, seconds"
    )
    retry_period_s: PositiveFloat = Field(2.0, description="seconds between two attempts to acquire or renew")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.renew_deadline_s >= self.lease_duration_s:
            raise ValueError(
                f"renew_deadline_s ({self.renew_deadline_s:g}) must be less than lease_duration_s "
                f"({self.lease_duration_s}): what is between them is the time that a write may take"
            )
        if self.renew_deadline_s < 2.0 * self.retry_period_s:
            raise ValueError(
                f"renew_deadline_s ({self.renew_deadline_s:g}) must be at least twice retry_period_s "
                f"({self.retry_period_s:g}), or one lost renewal ends leadership"
            )
        return self

    @property
    def write_s(self) -> float:
        """How long a write may take at most, seconds."""
        return self.lease_duration_s - self.renew_deadline_s


class PlaneSettings(_Group):
    """Where knobs are read and written."""

    kind: Literal["none", "envoy", "kubernetes"] = Field(
        "none", description="none (recommend only), envoy (file xDS) or kubernetes (every mesh in a cluster)"
    )
    kubernetes: KubernetesSettings = KubernetesSettings()
    directory: Path | None = Field(None, description="directory that the Envoy reads its xDS files from")
    admin_url: AnyHttpUrl | None = Field(None, description="admin address of that Envoy")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.kind == "envoy":
            lacking = [n for n in ("directory", "admin_url") if getattr(self, n) is None]
            if lacking:
                raise ValueError(f"kind envoy needs {' and '.join(lacking)}")
        return self


class LedgerSettings(_Group):
    """Where decisions are recorded."""

    path: Path = Field(Path("governor-ledger.sqlite"), description="SQLite file; made when it is not there")


class HealthSettings(_Group):
    """The instance's own read-only web page: /healthz, /readyz, /metrics, /."""

    enabled: bool = Field(default=True, description="whether to listen at all")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 in a pod")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(9480, description="port to listen on; 0 takes a free one")


class LogSettings(_Group):
    """Logs go to stderr."""

    format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else json"
    )
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is shown")


class Settings(BaseSettings):
    """All settings of one instance. Read them with `settings_sources.load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=DELIMITER,
        frozen=True,
        extra="forbid",
        validate_default=False,
        env_ignore_empty=True,
    )

    mode: RunMode = Field(
        RunMode.RECOMMEND, description="recommend: say what would change; enforce: write what policies allow"
    )
    period_s: Annotated[float, Field(ge=1, le=3600)] = Field(15.0, description="seconds between two cycles")
    window_s: Annotated[float, Field(ge=1, le=3600)] | None = Field(
        None, description="seconds of signals that a cycle looks at; default: the period"
    )
    look_s: Annotated[float, Field(ge=0, le=3600)] = Field(
        0.25,
        description="seconds between short looks at the backends between two cycles, in enforce mode and with "
        "source envoy, which measures that often; 0: none",
    )
    policies: tuple[str, ...] = Field(
        ("observe-only",),
        description="presets or files, in order: the first that selects a target governs it",
    )
    models: Path | None = Field(
        None, description="folder of trained models with a manifest.json; default: those that come with it"
    )
    pause_file: Path | None = Field(None, description="while this file is there, nothing is written")
    source: SourceSettings = SourceSettings()
    plane: PlaneSettings = PlaneSettings()
    leadership: LeadershipSettings = LeadershipSettings()
    ledger: LedgerSettings = LedgerSettings()
    health: HealthSettings = HealthSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _can_enforce(self) -> Self:
        if self.mode is RunMode.ENFORCE and self.plane.kind == "none":
            raise ValueError("mode enforce needs a control plane; set plane.kind, or leave mode at recommend")
        if not self.policies:
            raise ValueError("policies is empty; name a preset (observe-only, cautious, balanced) or a file")
        return self

    @property
    def window(self) -> float:
        """Seconds of signals that a cycle looks at."""
        return self.window_s or self.period_s

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load_settings` has merged: it keeps track of where each value came from."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)
