"""Which knobs an Envoy's bootstrap enables, read from its admin interface alone, and the snippet for the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import indent
from typing import Any

from governor.adapters.envoy_admin_names import edge_of_cluster
from governor.adapters.envoy_files_admin import EnvoyAdmin
from governor.errors import SourceRefused
from governor.knobs import Knob

RUNTIME_SNIPPET = """\
layered_runtime:
  layers:
  - name: governor
    rtds_layer:
      name: governor
      rtds_config: {resource_api_version: V3, path_config_source: {path: /etc/envoy/xds/rtds.json}}
"""
CLUSTER_SNIPPET = """\
type: EDS
eds_cluster_config:
  eds_config: {resource_api_version: V3, path_config_source: {path: /etc/envoy/xds/eds/web.json}}
track_cluster_stats: {per_endpoint_stats: true}
"""
ROUTES_SNIPPET = """\
rds:
  route_config_name: web
  config_source: {resource_api_version: V3, path_config_source: {path: /etc/envoy/xds/rds/web.json}}
"""
LIMIT_SNIPPET = """\
- name: limit.shop.low
  config_discovery:
    config_source: {resource_api_version: V3, path_config_source: {path: /etc/envoy/xds/ecds/limit.shop.low.json}}
    type_urls:
    - type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
"""
TAGS_SNIPPET = """\
stats_config:
  use_all_default_tags: false
  stats_tags:
  - {tag_name: envoy.cluster_name}
  - {tag_name: envoy.http_conn_manager_prefix}
  - {tag_name: envoy.response_code}
  - {tag_name: envoy.response_code_class}
  - {tag_name: envoy.virtual_host}
  - {tag_name: envoy.route, regex: '^vhost\\..*?\\.route\\.((.*?)\\.)upstream_rq'}
  - {tag_name: envoy.local_http_ratelimit_prefix, regex: '^((.*?)\\.)http_local_rate_limit\\.'}
"""
TAGS = {"envoy.route", "envoy.local_http_ratelimit_prefix"}
MANAGER = "HttpConnectionManager"
SHOWN = 5


@dataclass(frozen=True)
class EnvoyReport:
    """What `check_envoy` found."""

    text: str
    complete: bool
    """Whether every knob that the governor can write here is ready."""


@dataclass(frozen=True)
class Finding:
    """One thing the bootstrap must hold: what it is for, what lacks, and the snippet that adds it."""

    what: str
    lacks: Sequence[str] = ()
    where: str = ""
    snippet: str = ""


def check_envoy(admin_url: str) -> EnvoyReport:
    """Ask the Envoy at `admin_url`; SourceUnreachable if nothing answers, SourceRefused if it is no Envoy."""
    admin = EnvoyAdmin(admin_url)
    about = admin.json("/server_info")
    dump = admin.json("/config_dump")
    if not isinstance(about, dict) or "version" not in about or "configs" not in dump:
        raise SourceRefused(f"{admin.url}/server_info does not answer as Envoy's: is this its admin address?")
    config = ConfigDump(dump["configs"])
    findings = [
        _runtime(config),
        _clusters(config),
        _routes(config),
        _limits(config),
        _endpoint_stats(config),
        _tags(config),
    ]
    version = str(about["version"]).split("/")[1:2] or ["?"]
    lines = [f"Envoy {version[0]} at {admin.url}, {about.get('state', '?')}"]
    lines += [line for finding in findings for line in _told(finding)]
    lines.append(
        f"{Knob.OUTLIER_DETECTION.value}: never written here (a CDS update rebuilds the cluster, drops its "
        "connections and forgets its ejections)"
    )
    return EnvoyReport("\n".join(lines), not any(finding.lacks for finding in findings))


class ConfigDump:
    """The parts of /config_dump that say where configuration comes from."""

    def __init__(self, configs: Sequence[dict[str, Any]]) -> None:
        parts = {str(c.get("@type", "")).rpartition(".")[2]: c for c in configs}
        self.bootstrap: dict[str, Any] = parts.get("BootstrapConfigDump", {}).get("bootstrap", {})
        clusters = parts.get("ClustersConfigDump", {})
        found = [*clusters.get("static_clusters", ()), *clusters.get("dynamic_active_clusters", ())]
        self.clusters = [c["cluster"] for c in found if edge_of_cluster(c["cluster"]["name"]) is not None]
        routes = parts.get("RoutesConfigDump", {})
        found = [*routes.get("static_route_configs", ()), *routes.get("dynamic_route_configs", ())]
        self.route_configs = [r["route_config"] for r in found if "route_config" in r]
        self.managers = list(_managers(parts.get("ListenersConfigDump", {})))

    def apis(self) -> list[str]:
        """Routes with a stat_prefix: what the governor calls an API."""
        hosts = [h for config in self.route_configs for h in config.get("virtual_hosts", ())]
        return sorted({r["stat_prefix"] for h in hosts for r in h.get("routes", ()) if r.get("stat_prefix")})


def _managers(value: Any) -> Iterator[dict[str, Any]]:
    """HTTP connection managers anywhere in the listeners."""
    if isinstance(value, dict):
        if str(value.get("@type", "")).endswith(MANAGER):
            yield value
        for inner in value.values():
            yield from _managers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _managers(inner)


def _by_file(source: dict[str, Any]) -> bool:
    return "path_config_source" in source or "path" in source


def _runtime(config: ConfigDump) -> Finding:
    layers = config.bootstrap.get("layered_runtime", {}).get("layers", ())
    files = [layer["name"] for layer in layers if _by_file(layer.get("rtds_layer", {}).get("rtds_config", {}))]
    lacks = [] if files else ["no runtime layer comes by RTDS from a file"]
    what = ", ".join((Knob.IN_FLIGHT_CAP, f"{Knob.RETRIES} (budget)", Knob.CONNECTION_LIMITS))
    return Finding(what, lacks, "the bootstrap", RUNTIME_SNIPPET)


def _clusters(config: ConfigDump) -> Finding:
    lacks = [
        f"cluster {c['name']} does not take its endpoints by EDS from a file"
        for c in config.clusters
        if not _by_file(c.get("eds_cluster_config", {}).get("eds_config", {}))
    ]
    if not config.clusters:
        lacks = ["there is no cluster"]
    return Finding(Knob.WEIGHTS.value, lacks, "each cluster", CLUSTER_SNIPPET)


def _routes(config: ConfigDump) -> Finding:
    lacks = [
        f"the HTTP connection manager {m.get('stat_prefix', '?')} does not take its routes by RDS from a file"
        for m in config.managers
        if not _by_file(m.get("rds", {}).get("config_source", {}))
    ]
    if not config.managers:
        lacks = ["no listener has an HTTP connection manager"]
    return Finding(
        f"{Knob.RETRIES} (attempts), {Knob.TIMEOUT}", lacks, "each HTTP connection manager", ROUTES_SNIPPET
    )


def _limits(config: ConfigDump) -> Finding:
    filters = [f for m in config.managers for f in m.get("http_filters", ())]
    ready = {f["name"] for f in filters if _by_file(f.get("config_discovery", {}).get("config_source", {}))}
    apis = config.apis()
    lacks = [
        f"API {api} has no HTTP filter limit.{api} by ECDS from a file"
        for api in apis
        if f"limit.{api}" not in ready
    ]
    if not apis:
        lacks = ["no route has a stat_prefix, so no API is counted or limited: give each API's route one"]
    return Finding(Knob.RATE_LIMIT.value, lacks, "http_filters, before the router", LIMIT_SNIPPET)


def _endpoint_stats(config: ConfigDump) -> Finding:
    lacks = [
        f"cluster {c['name']} does not count per endpoint"
        for c in config.clusters
        if not c.get("track_cluster_stats", {}).get("per_endpoint_stats")
    ]
    return Finding("signals of backends", lacks, "each cluster", CLUSTER_SNIPPET)


def _tags(config: ConfigDump) -> Finding:
    """Envoy's default tags cut the name of a route or limit at its first dot."""
    tags = config.bootstrap.get("stats_config", {}).get("stats_tags", ())
    own = {t["tag_name"] for t in tags if "regex" in t and _keeps_dots(t)}
    lacks = [f"the tag {name} cuts names at their first dot" for name in sorted(TAGS - own)]
    return Finding("signals of APIs", lacks, "the bootstrap", TAGS_SNIPPET)


def _keeps_dots(tag: dict[str, str]) -> bool:
    """Whether the tag's regular expression takes a name with dots as a whole, tried on one."""
    stat = {
        "envoy.route": "vhost.ingress.route.shop.low.upstream_rq_completed",
        "envoy.local_http_ratelimit_prefix": "limit.shop.low.http_local_rate_limit.rate_limited",
    }.get(tag["tag_name"])
    try:
        match = re.search(tag["regex"], stat) if stat else None
    except re.error:
        return False
    return bool(match and match.groups() and match.groups()[-1].endswith("shop.low"))


def _told(finding: Finding) -> Iterator[str]:
    if not finding.lacks:
        yield f"{finding.what}: ready"
        return
    yield f"{finding.what}: not ready"
    yield from (f"  {lack}" for lack in finding.lacks[:SHOWN])
    if len(finding.lacks) > SHOWN:
        yield f"  and {len(finding.lacks) - SHOWN} more"
    yield f"  add to {finding.where}:"
    yield indent(finding.snippet.rstrip(), "    ")
