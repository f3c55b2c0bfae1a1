#!/usr/bin/python3
"""Opens thousands of connections to the HTTPS port that are never any good, and keeps them: silent ones, halves of hand-shakes, headers
that come byte by byte, readers that don't read, and idle ones after an answer. What the daemon closes is opened again, up to a rate.
Loopback only; from many addresses (127.0.x.y). Ends when its input closes, and by itself after --seconds.

Usage: flood.py ADDRESS AUTHORITY_PEM [--count N] [--served N] [--seconds S] [--reopen PER_SECOND]
Prints a JSON object once a second: what is open, of which kind, and what was closed by the daemon.
"""
import argparse
import collections
import json
import os
import random
import resource
import selectors
import socket
import ssl
import sys
import time

HALF_HELLO = bytes.fromhex("16030102000100") + b"\x01\xfc\x03\x03" + bytes(20)
HEADER = b"GET /v1/jobs HTTP/1.1\r\nHost: h\r\nX-Slow: "
BIG = b"GET /openapi.json HTTP/1.1\r\nHost: h\r\n\r\n"
REFUSED = b"GET /v1/jobs HTTP/1.1\r\nHost: h\r\n\r\n"
# How often a slow one does something: below every time limit of the daemon.
PULSE_S = 3
LOOK_S = 0.5
WITHOUT_TLS = ("silent", "half_hello")
WITH_TLS = ("slow_header", "slow_reader", "idle")


class Bad:
    """One connection."""

    def __init__(self, flood, kind):
        self.kind, self.ready = kind, kind in WITHOUT_TLS
        plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        plain.setblocking(False)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if kind == "slow_reader":
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.bind((f"127.0.{random.randrange(1, 5)}.{random.randrange(1, 250)}", 0))
        plain.connect_ex(flood.address)
        self.socket = plain
        self.begun = False
        if not self.ready:
            self.tls_in, self.tls_out = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = flood.context.wrap_bio(self.tls_in, self.tls_out, server_hostname="localhost")
        self.next = time.monotonic() + random.random() * PULSE_S

    def flush(self):
        if data := self.tls_out.read():
            self.socket.send(data)

    def readable(self):
        """What came; raises OSError when there is nothing more."""
        data = self.socket.recv(4096)
        if not data:
            raise ConnectionResetError
        if self.kind in WITH_TLS and not self.ready:
            self.tls_in.write(data)
            self.shake()

    def shake(self):
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return self.flush()
        self.ready = True
        self.tls.write({"slow_header": HEADER, "slow_reader": BIG, "idle": REFUSED}[self.kind])
        self.flush()

    def pulse(self):
        if self.kind == "half_hello":
            self.socket.send(HALF_HELLO if not self.begun else b"\0")
            self.begun = True
        elif self.kind == "slow_header" and self.ready:
            self.tls.write(b"x")
            self.flush()
        elif self.kind == "slow_reader" and self.ready and not self.socket.recv(1):
            raise ConnectionResetError


class Flood:
    def __init__(self, options):
        host, port = options.address.rsplit(":", 1)
        self.address = (host, int(port))
        self.context = ssl.create_default_context(cadata=open(options.authority).read())
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE  # who floods doesn't care whom
        self.selector = selectors.EpollSelector()
        self.readers = set()
        self.open = collections.Counter()
        self.dropped = 0
        self.reopen = options.reopen
        self.tokens = self.pulsed = 0.0
        served = min(options.served, options.count)
        self.wanted = {kind: served // len(WITH_TLS) for kind in WITH_TLS}
        self.wanted.update({kind: (options.count - served) // len(WITHOUT_TLS) for kind in WITHOUT_TLS})
        self.ever = collections.Counter()

    def add(self, kind):
        try:
            bad = Bad(self, kind)
        except OSError:
            return
        self.open[kind] += 1
        self.ever[kind] += 1
        # One that connects has something to say when it can be written to.
        self.selector.register(bad.socket, selectors.EVENT_READ | (0 if bad.ready else selectors.EVENT_WRITE), bad)

    def drop(self, bad):
        if bad in self.readers:
            self.readers.remove(bad)
        else:
            self.selector.unregister(bad.socket)
        bad.socket.close()
        self.open[bad.kind] -= 1
        self.dropped += 1

    def step(self):
        for key, events in self.selector.select(0.02):
            bad = key.data
            try:
                if events & selectors.EVENT_WRITE:
                    self.selector.modify(bad.socket, selectors.EVENT_READ, bad)
                    bad.shake()
                if events & selectors.EVENT_READ:
                    bad.readable()
                if bad.kind == "slow_reader" and bad.ready:  # looked at by its pulse alone
                    self.selector.unregister(bad.socket)
                    self.readers.add(bad)
            except BlockingIOError:
                pass
            except (OSError, ssl.SSLError):
                self.drop(bad)

    def pulse(self):
        now = time.monotonic()
        if now < self.pulsed + LOOK_S:
            return
        self.pulsed = now
        for bad in [key.data for key in self.selector.get_map().values()] + list(self.readers):
            if now < bad.next:
                continue
            bad.next = now + PULSE_S
            try:
                bad.pulse()
            except BlockingIOError:
                pass
            except (OSError, ssl.SSLError):
                self.drop(bad)

    def fill(self, seconds):
        """First all of them, as fast as it goes; then what was closed, up to a rate."""
        first = [kind for kind, count in self.wanted.items() for _ in range(min(count - self.ever[kind], 40)) if self.ever[kind] < count]
        for kind in first:
            self.add(kind)
        if first:
            return
        self.tokens = min(self.reopen, self.tokens + seconds * self.reopen)
        while self.tokens >= 1 and (missing := [kind for kind, count in self.wanted.items() if self.open[kind] < count]):
            self.tokens -= 1
            self.add(random.choice(missing))

    def report(self):
        print(json.dumps({"open": sum(self.open.values()), "kinds": dict(self.open), "opened": sum(self.ever.values()),
                          "closed_by_daemon": self.dropped}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("authority")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--served", type=int, default=1_500, help="so many of them get through the hand-shake")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--reopen", type=float, default=300)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < options.count + 200:
        options.count = hard - 200
        print(json.dumps({"limit": f"only {options.count} connections: the machine allows {hard} open files"}), flush=True)
    flood = Flood(options)
    os.set_blocking(0, False)
    end, last, reported = time.monotonic() + options.seconds, time.monotonic(), 0.0
    while time.monotonic() < end:
        try:
            if sys.stdin.buffer.raw.read(1) == b"":
                break
        except BlockingIOError:
            pass
        now = time.monotonic()
        flood.fill(now - last)
        last = now
        flood.step()
        flood.pulse()
        if now - reported >= 1:
            reported = now
            flood.report()


if __name__ == "__main__":
    main()
