"""A client of the Kubernetes API: from a kubeconfig file, or from the service account of the pod."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from governor.errors import ControlPlaneError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient


def api_client(kubeconfig: Path | None = None, context: str | None = None) -> ApiClient:
    """The client that `kubeconfig` (default: the pod's account, else the user's own file) describes.

    Raises ControlPlaneError saying which file or field is wrong. Nothing is asked of the server yet.
    """
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise ControlPlaneError(
            "the package kubernetes is missing: pip install 'mesh-governor[kubernetes]' brings it"
        ) from error
    settings = client.Configuration()
    try:
        if kubeconfig is None and context is None and _in_cluster():
            config.load_incluster_config(settings)  # type: ignore[no-untyped-call]
        else:
            path = None if kubeconfig is None else str(kubeconfig)
            load = partial(config.load_kube_config, path, context, settings, persist_config=False)
            load()
    except (config.ConfigException, OSError, ValueError) as error:
        where = (
            f"kubeconfig {kubeconfig}" if kubeconfig else "the kubeconfig file ($KUBECONFIG or ~/.kube/config)"
        )
        raise ControlPlaneError(
            f"{where} cannot be used: {error}: set plane.kubernetes.kubeconfig and context, or run in a pod "
            "with a service account"
        ) from error
    # Writes are never repeated by the transport: whether to try again is the writer's decision.
    settings.retries = False
    return client.ApiClient(settings)


def _in_cluster() -> bool:
    from kubernetes.config.incluster_config import SERVICE_TOKEN_FILENAME

    return Path(SERVICE_TOKEN_FILENAME).exists()
