"""The smallest lab that tests of several folders run: one service, called by requests of both priorities."""

from __future__ import annotations


def one_service(
    name: str,
    duration_s: int,
    high: str,
    low: str,
    *,
    service_time_s: float,
    latency_s: float,
    timeout_s: float = 1.0,
    replicas: int = 2,
    workers: int = 8,
    seed: int = 7,
    more: str = "",
) -> str:
    """A scenario as a document: `web` is called as API `shop`; `more` are whole lines, further fields.

    `high` and `low` are the load of each priority: pairs of seconds and requests/s, one after the other.
    """
    return f"""
name: {name}
description: one service, two classes
duration_s: {duration_s}
seed: {seed}
topology:
  services:
    - {{name: web, replicas: {replicas}, workers: {workers}, service_time_s: {service_time_s}}}
apis:
  - {{name: shop, priority: high, calls: {{service: web}}}}
  - {{name: shop, priority: low, calls: {{service: web}}}}
load:
  classes:
    shop.high: {{schedule: {high}}}
    shop.low: {{schedule: {low}}}
slo: {{latency_s: {latency_s}, timeout_s: {timeout_s}}}
{more}"""
