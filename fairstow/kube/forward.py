"""One request to a port of a pod, by the API server's port-forward: no way of one's own is needed.

Called by the command line. The port may be the pod's loopback. Needs `create` on pods/portforward.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from contextlib import suppress
from typing import Any

import msgspec

from fairstow.cluster.errors import InputError
from fairstow.kube.client import Connection
from fairstow.kube.problems import ApiError

SECONDS = 30.0
_END_SECONDS = 5.0
LONGEST = 16 << 20


def ask(
    connection: Connection,
    pod: tuple[str, str],
    port: int,
    request: tuple[str, str],
    *,
    token: str,
    tls: tuple[ssl.SSLContext, str],
    body: Any = None,
) -> tuple[int, bytes]:
    """Send a request, a method and a path, and return the answer's status and body.

    Args:
        connection: to the cluster, as who is asking.
        pod: namespace and name.
        port: of the pod.
        request: method and path.
        token: shown as Authorization.
        tls: by which the port's certificate is checked, and the name that it is in.
        body: as JSON; None: none.

    Raises:
        ApiError: the API server refuses.
        InputError: nobody answers.
    """
    from kubernetes.client import ApiException, CoreV1Api
    from kubernetes.stream import portforward

    where = "/".join(pod)
    try:
        forward = portforward(
            CoreV1Api(connection.api).connect_get_namespaced_pod_portforward,
            pod[1],
            pod[0],
            ports=str(port),
        )
    except ApiException as error:
        why = str(error.reason).partition(" -+-+-")[0]  # headers follow
        said = f"no port-forward to pod {where}: {why}"
        raise ApiError(error.status or 500, said) from error
    except OSError as error:
        raise InputError(f"pod {where}", f"can't be reached: {error}") from error
    line = http.client.HTTPConnection(pod[1], timeout=SECONDS)
    line.sock = forward.socket(port)
    line.sock.settimeout(SECONDS)
    kept = line.sock.dup()
    headers = {"Authorization": f"Bearer {token}", "Host": "localhost", "Connection": "close"}
    content = None if body is None else msgspec.json.encode(body)
    try:
        line.sock = tls[0].wrap_socket(line.sock, server_hostname=tls[1])
        line.request(*request, body=content, headers=headers)
        answer = line.getresponse()
        return answer.status, answer.read(LONGEST)
    except (OSError, http.client.HTTPException) as error:
        said = forward.error(port) or repr(error)
        raise InputError(f"pod {where}", f"port {port} doesn't answer: {said}") from error
    finally:
        line.close()
        forward.close()
        _end(kept)


def _end(kept: socket.socket) -> None:
    """Close a forwarded socket: the thread that forwards breaks if anything is left unread then."""
    kept.settimeout(_END_SECONDS)
    with kept, suppress(OSError):
        kept.shutdown(socket.SHUT_WR)
        while kept.recv(1 << 16):
            pass
