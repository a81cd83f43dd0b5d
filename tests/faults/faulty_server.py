"""A web server on this machine that does everything wrong. `/FAULT/NAME` serves the file NAME with that fault."""

import contextlib
import gzip
import socket
import socketserver
import struct
import threading
import time

HTML = b"<!DOCTYPE html><title>Welcome</title><p>Please log in to use this network.</p>"


def answer(body: bytes, *, length: int | None = None, status: str = "200 OK", more: str = "") -> bytes:
    """A response; `length` is what it claims to have, -1 for no claim."""
    length = len(body) if length is None else length
    claim = "" if length < 0 else f"Content-Length: {length}\r\n"
    return f"HTTP/1.1 {status}\r\n{claim}{more}Connection: close\r\n\r\n".encode() + body


def good(connection, body, server):
    connection.sendall(answer(body))


def chunked(connection, body, server):
    """Right, in the encoding without a length."""
    parts = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (body[:100], body[100:]) if part)
    connection.sendall(answer(parts + b"0\r\n\r\n", length=-1, more="Transfer-Encoding: chunked\r\n"))


def chunked_and_dropped(connection, body, server):
    connection.sendall(
        answer(f"{len(body):x}\r\n".encode() + body[:50], length=-1, more="Transfer-Encoding: chunked\r\n")
    )


def dropped(connection, body, server):
    connection.sendall(answer(body[: len(body) // 2], length=len(body)))


def dropped_without_length(connection, body, server):
    connection.sendall(answer(body[: len(body) // 2], length=-1))


def reset(connection, body, server):
    connection.sendall(answer(body[: len(body) // 2], length=len(body)))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hung_up(connection, body, server):
    """Closes without a word."""


def claims_less(connection, body, server):
    connection.sendall(answer(body, length=len(body) - 1))


def claims_more(connection, body, server):
    connection.sendall(answer(body, length=len(body) + 1))


def claims_nonsense(connection, body, server):
    connection.sendall(answer(body[:-3], length=-1, more="Content-Length: a lot\r\n"))


def stalls_at_once(connection, body, server):
    server.stopped.wait(20)


def stalls_midway(connection, body, server):
    connection.sendall(answer(body[: len(body) // 2], length=len(body)))
    server.stopped.wait(20)


def trickles(connection, body, server):
    connection.sendall(answer(b"", length=len(body)))
    one_by_one(connection, body, server)


def trickles_its_header(connection, body, server):
    one_by_one(connection, answer(body), server)


def one_by_one(connection, content, server):
    """A byte in 0.1 s, so that no packet is ever late."""
    for number in range(200):
        connection.sendall(content[number : number + 1])
        if server.stopped.wait(0.1):
            return


def endless(connection, body, server):
    connection.sendall(answer(b"", length=-1))
    while not server.stopped.is_set():
        connection.sendall(bytes(1 << 16))


def huge_claim(connection, body, server):
    connection.sendall(answer(body, length=1 << 62))
    while not server.stopped.is_set():
        connection.sendall(bytes(1 << 16))


def endless_header(connection, body, server):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not server.stopped.is_set():
        connection.sendall(b"X-More: " + b"x" * 60_000 + b"\r\n")


def html(connection, body, server):
    connection.sendall(answer(HTML, more="Content-Type: text/html\r\n"))


def busy(connection, body, server):
    connection.sendall(answer(b"try later", status="503 Service Unavailable", more="Retry-After: 86400\r\n"))


def missing(connection, body, server):
    connection.sendall(answer(HTML, status="404 Not Found"))


def forbidden(connection, body, server):
    connection.sendall(answer(HTML, status="403 Forbidden"))


def part(connection, body, server):
    """A part that was not asked for."""
    connection.sendall(answer(body[5:], status="206 Partial Content"))


def nothing(connection, body, server):
    connection.sendall(answer(b"", status="204 No Content", length=-1))


def empty(connection, body, server):
    connection.sendall(answer(b""))


def not_http(connection, body, server):
    connection.sendall(b"220 mail.example ESMTP\r\n" * 10)


def redirects_for_ever(connection, body, server):
    connection.sendall(answer(b"", status="302 Found", more="Location: ./again\r\n"))


def redirects_nowhere(connection, body, server):
    connection.sendall(answer(b"", status="302 Found", more="Location: http://\r\n"))


def redirects_to_a_file(connection, body, server):
    connection.sendall(answer(b"", status="302 Found", more="Location: file:///etc/passwd\r\n"))


def wrong_bytes(connection, body, server):
    connection.sendall(answer(body[:-1] + bytes([body[-1] ^ 1])))


def other_content(connection, body, server):
    """Whole and well made, but other labels: what Keras' own loader of Fashion-MNIST takes for good."""
    content = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
    content = content[:16] + content[:15:-1]
    connection.sendall(answer(gzip.compress(content) if body[:2] == b"\x1f\x8b" else content))


def bomb(connection, body, server):
    """Fits the size that a file may have, and unpacks to a thousand times as much."""
    connection.sendall(answer(server.bomb))


def encoded(connection, body, server):
    """Packed once more for the way, though that was not asked for."""
    connection.sendall(answer(gzip.compress(body), more="Content-Encoding: gzip\r\n"))


# What must make the next mirror the one that counts.
FAULTS = [
    *(chunked_and_dropped, dropped, dropped_without_length, reset, hung_up, claims_less, claims_more, claims_nonsense),
    *(stalls_at_once, stalls_midway, trickles, trickles_its_header, endless, huge_claim, endless_header, html, busy),
    *(missing, forbidden, part, nothing, empty, not_http, redirects_for_ever, redirects_nowhere, redirects_to_a_file),
    *(wrong_bytes, other_content, bomb, encoded),
]
ANSWERS = {answer.__name__: answer for answer in (good, chunked, *FAULTS)}


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.settimeout(20)
        with contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and (more := self.request.recv(4096)):
                head += more
            method, path, *_ = head.decode("latin-1").split(" ")
            self.server.asked.append(path)
            if method == "HEAD":
                self.request.sendall(answer(b"", status=self.server.head_status))
                return
            fault, name = path.rsplit("/", 2)[-2:]
            time.sleep(self.server.seconds_before)
            ANSWERS[fault](self.request, self.server.files.get(name), self.server)

    def finish(self):
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_WR)
            self.request.settimeout(0.2)
            while self.request.recv(4096):  # else what is on its way is lost with the connection
                pass


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 50

    def handle_error(self, request, client_address):
        pass  # a client that went away


@contextlib.contextmanager
def running(certificate=None):
    """The server, with `url`, `files` by name, `asked` paths; with TLS where a certificate's file is given."""
    server = Server(("127.0.0.1", 0), Handler)
    server.files, server.asked, server.stopped = {}, [], threading.Event()
    server.head_status, server.seconds_before = "200 OK", 0
    server.bomb = gzip.compress(bytes(1 << 20)) * 4
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    if certificate is not None:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.url = server.url.replace("http:", "https:")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()
