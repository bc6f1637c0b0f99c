"""What stands between a gateway and the hub: a proxy that holds streams back, and nginx as the Ingress configures it."""

import contextlib
import signal
import socket
import subprocess
import threading
import time
from urllib.parse import urlsplit

from chart import free_port


@contextlib.contextmanager
def holding_back(url, after):
    """A proxy that passes everything on, but of event streams only what comes up to `after`. Yields its address."""
    target = urlsplit(url)
    listener = socket.create_server(("127.0.0.1", 0))
    opened = []

    def pump(source, sink, until=None):
        seen = b""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                seen = (seen + data)[-(1 << 20):]
                if until is None or until not in seen[:-len(data)]:
                    sink.sendall(data)
        if until is None:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((target.hostname, target.port))
                opened.extend((client, server))
                first = client.recv(65536)
                server.sendall(first)
                until = after if first.startswith(b"GET /v1/events") else None
                threading.Thread(target=pump, args=(client, server), daemon=True).start()
                threading.Thread(target=pump, args=(server, client, until), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        # Before close, which does not wake whoever is in accept.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        for s in [listener, *opened]:
            s.close()


@contextlib.contextmanager
def nginx(ingress, url, folder):
    """nginx with what ingress-nginx makes of the annotations and the paths of an Ingress. Yields its address."""
    prefix = "nginx.ingress.kubernetes.io/"
    notes = {k.removeprefix(prefix): v for k, v in ingress["metadata"]["annotations"].items() if k.startswith(prefix)}
    directives = {
        "proxy_buffering": notes.pop("proxy-buffering"),
        "proxy_read_timeout": notes.pop("proxy-read-timeout") + "s",
        "proxy_send_timeout": notes.pop("proxy-send-timeout") + "s",
        "client_max_body_size": notes.pop("proxy-body-size"),
        "proxy_next_upstream": notes.pop("proxy-next-upstream"),
    }
    assert not notes, f"nobody has tried {notes}"
    body = "".join(f"{name} {value};" for name, value in directives.items())
    paths = [path["path"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
    places = "".join(f"location {path} {{ proxy_pass {url}; proxy_http_version 1.1; {body} }}" for path in paths)
    port = free_port()
    folder.mkdir()
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}} http {{ access_log off;"
        + "".join(f" {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        + f" server {{ listen 127.0.0.1:{port}; {places} }} }}")
    server = subprocess.Popen(["/usr/sbin/nginx", "-c", folder / "nginx.conf", "-e", folder / "error.log", "-p", folder])
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
