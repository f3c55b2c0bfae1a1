#!/usr/bin/python3
"""Proves the REST edge with the real programs, over real TLS: what it says is what gRPC says, conditions, errors, event streams that
go on after a restart, and that hostile clients get refused while others are served. The hypervisor is simulated.

Usage: test_rest.py BUILD [unittest's arguments]
"""
import gzip
import json
import pathlib
import re
import shutil
import socket
import ssl
import sys
import tempfile
import time
import unittest

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "deploy/local")]
from client import Closed, Connection, Events  # noqa: E402
from stack import Stack, free_port, wait_for  # noqa: E402

GUEST = "guest"
HEADER_MAX = 8 * 1024
BODY_MAX = 1024 * 1024
PENDING_PER_ADDRESS = 128


class RestStack(Stack):
    cors = "https://dash.example"

    def __init__(self, *args):
        super().__init__(*args)
        self.port = free_port()
        self.token = None

    def _new_config(self):
        return super()._new_config() + f'[http]\nlisten = "127.0.0.1:{self.port}"\ncors_origins = ["{self.cors}"]\n'

    def hypervisor_flags(self):
        return ["--hypervisor", "simulated", "--simulated-vm", f"{GUEST}=8"]

    def authority(self):
        text = (self.daemon_data / "authority.pem").read_text()
        return re.search("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", text, re.S).group(0)

    def connect(self, **more):
        return Connection(self.addresses()["http_address"], self.authority(), **{"token": self.token, **more})

    def new_api_token(self, user, *grants):
        """{"token": ..., "secret": ...}"""
        made = self.umbra("token", "create", user, *(word for grant in grants for word in ("--grant", grant)))
        assert made.status == 0, made
        return made.last

    def make_token(self, user="admin", *grants):
        return self.new_api_token(user, *grants)["secret"]

    def ask(self, method, target, headers=(), body=None, **more):
        with self.connect(**more) as connection:
            return connection.ask(method, target, headers, body)

    def get(self, target, *headers):
        return self.ask("GET", target, headers)


def without_zeroes(value):
    """What protobuf's JSON leaves out when it isn't asked for it: what the command line prints."""
    if isinstance(value, dict):
        kept = {key: without_zeroes(item) for key, item in value.items()}
        return {key: item for key, item in kept.items()
                if item not in ("", "0", 0, False, [], {}) and not (isinstance(item, str) and item.endswith("_UNSPECIFIED"))}
    return [without_zeroes(item) for item in value] if isinstance(value, list) else value


class RestTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="urest.", dir="/tmp"))
        cls.stack = RestStack(cls.folder, BUILD, "")
        cls.stack.start_daemon()
        cls.stack.token = cls.stack.make_token()
        cls.stack.start_agent()
        cls.vm = cls.stack.wait_vm(GUEST)
        backup = cls.stack.umbra("backup", "run", GUEST, "--allow-crash-consistent", "--watch")
        assert backup.status == 0, backup

    @classmethod
    def tearDownClass(cls):
        cls.stack.stop()
        shutil.rmtree(cls.folder)

    def problem(self, answer, status, reason):
        self.assertEqual(answer.status, status, answer)
        self.assertEqual(answer.header("Content-Type"), "application/problem+json", answer)
        problem = answer.json()
        self.assertEqual((problem["status"], problem.get("reason")), (status, reason), answer)
        self.assertEqual(problem["requestId"], answer.header("X-Request-Id"))
        return problem

    # What it says

    def test_says_what_grpc_says(self):
        """Every kind of resource, listed and one by one, as the command line gets it over gRPC."""
        kinds = [("/v1/hosts", "hosts", ("host", "list")), ("/v1/jobs", "jobs", ("job", "list", "--limit", 0)),
                 ("/v1/recoveryPoints", "recoveryPoints", ("recovery-point", "list", "--limit", 0)),
                 ("/v1/repositories", "repositories", ("repository", "list"))]
        host = self.stack.umbra("host", "list").last["name"]
        kinds.append((f"/v1/{host}/virtualMachines", "virtualMachines", ("vm", "list")))
        moving = ("updateTime", "lastSeenTime", "lastHeartbeatTime", "freeBytes", "inventoryTime", "verifyTime")
        still = lambda item: {k: v for k, v in without_zeroes(item).items() if k not in moving}  # noqa: E731
        for target, field, command in kinds:
            listed = self.stack.get(target).json()[field]
            self.assertTrue(listed, target)
            over_grpc = {item["name"]: item for item in self.stack.umbra(*command).objects}
            for item in listed:
                self.assertEqual(still(item), still(over_grpc[item["name"]]))
                alone = self.stack.get("/v1/" + item["name"])
                self.assertEqual(alone.status, 200, alone)
                whole, listed_part = still(alone.json()), still(item)  # one by one there is more, in lists some is left out
                both = whole.keys() & listed_part.keys()
                self.assertEqual({key: whole[key] for key in both}, {key: listed_part[key] for key in both})
                self.assertGreater(len(both), 3)

    def test_every_list_is_served(self):
        host = self.stack.umbra("host", "list").last["name"]
        for target in ("/v1/events", "/v1/policies", "/v1/coverage", "/v1/notificationChannels", "/v1/catalog",
                       f"/v1/{host}/fileSets", f"/v1/{host}/writers", "/v1/repositories/main/keys"):
            answer = self.stack.get(target)
            self.assertEqual((answer.status, answer.header("Content-Type")), (200, "application/json"), target)

    def test_prints_zeroes_numbers_and_enums(self):
        job = self.stack.get("/v1/jobs?pageSize=1").json()["jobs"][0]
        self.assertEqual(job["state"], "STATE_SUCCEEDED")
        self.assertEqual(job["policy"], "")  # a zero that a client sees
        self.assertIsInstance(self.stack.get("/v1/events?pageSize=1").json()["events"][0]["sequence"], str)

    def test_query_goes_to_fields(self):
        first = self.stack.get("/v1/events?page_size=2").json()
        self.assertEqual(len(first["events"]), 2)
        second = self.stack.get(f"/v1/events?pageSize=2&pageToken={first['nextPageToken']}").json()
        self.assertGreater(int(second["events"][0]["sequence"]), int(first["events"][1]["sequence"]))
        self.problem(self.stack.get("/v1/events?pagesize=2"), 400, "INVALID_REQUEST")
        self.problem(self.stack.get("/v1/events?pageSize=many"), 400, "INVALID_REQUEST")
        self.problem(self.stack.get("/v1/events?pageToken=%zz"), 400, "INVALID_REQUEST")
        self.problem(self.stack.get("/v1/events?pageToken=wrong"), 400, "INVALID_PAGE_TOKEN")

    def test_common_headers(self):
        answer = self.stack.get("/v1/repositories", ("X-Request-Id", "mine-1"))
        self.assertEqual(answer.header("X-Request-Id"), "mine-1")
        self.assertEqual(answer.header("X-Content-Type-Options"), "nosniff")
        self.assertTrue(answer.header("Strict-Transport-Security").startswith("max-age="))
        self.assertIn("default-src 'none'", answer.header("Content-Security-Policy"))
        self.assertNotEqual(self.stack.get("/v1/repositories", ("X-Request-Id", "a b;c")).header("X-Request-Id"), "a b;c")

    def test_head_has_no_body(self):
        with self.stack.connect() as connection:
            head = connection.ask("HEAD", "/v1/repositories")
            self.assertEqual(head.status, 200)
            self.assertGreater(int(head.header("Content-Length")), 10)
            self.assertEqual(connection.ask("GET", "/v1/repositories").status, 200)  # the connection is in step

    def test_compresses_when_asked(self):
        plain = self.stack.get("/openapi.json")
        packed = self.stack.get("/openapi.json", ("Accept-Encoding", "br, gzip"))
        self.assertEqual(packed.header("Content-Encoding"), "gzip")
        self.assertEqual(gzip.decompress(packed.body), plain.body)
        self.assertIsNone(self.stack.get("/openapi.json", ("Accept-Encoding", "gzip;q=0")).header("Content-Encoding"))
        events = self.stack.get("/v1/events", ("Accept-Encoding", "gzip"))
        self.assertIn("events", json.loads(gzip.decompress(events.body)))

    def test_what_a_policy_would_do_and_sums(self):
        """Checked and previewed by the command line and by REST, nothing made; sums by both."""
        tried = self.stack.umbra("policy", "create", "tried", "--select", "all", "--schedule", "daily at 22:00", "--keep-daily", "3", "--dry-run")
        policy, preview = tried.objects
        self.assertEqual(policy["name"], "policies/tried")
        self.assertEqual(len(preview["expectedPoints"]), 3)
        machines = str(len(self.stack.umbra("vm", "list").objects))
        self.assertEqual(preview["schedule"]["memberCount"], machines)
        told = self.stack.ask("POST", "/v1/policies:preview", body={"policy": policy, "period": "86400s"})
        self.assertEqual((told.status, len(told.json()["schedule"]["runs"])), (200, 1), told)
        wrong = self.stack.ask("POST", "/v1/policies:preview", body={"policy": {**policy, "timeZone": "Mars"}})
        self.assertEqual((wrong.status, wrong.json()["reason"]), (400, "INVALID_TIME_ZONE"))
        checked = self.stack.ask("POST", "/v1/policies?policyId=tried&validateOnly=true", body=policy)
        self.assertEqual((checked.status, checked.json()["name"]), (200, "policies/tried"), checked)
        self.assertEqual(self.stack.get("/v1/policies/tried").status, 404)

        sums = self.stack.get("/v1/coverage:summary").json()
        self.assertEqual(sums["totalCount"], machines)
        self.assertEqual(sum(int(sums[f"{kind}Count"]) for kind in ("protected", "failing", "unprotected", "never", "late")), int(machines))
        self.assertEqual(self.stack.umbra("coverage", "--summary").last["totalCount"], machines)
        days = self.stack.get("/v1/jobs:summarizeBackups?startTime=2026-01-01T00:00:00Z&count=3").json()["summaries"]
        self.assertEqual([day["startTime"] for day in days], [f"2026-01-0{n}T00:00:00Z" for n in (1, 2, 3)])
        self.assertEqual(len(self.stack.umbra("backup", "summary", "--days", "2").objects), 2)

    def test_describes_itself(self):
        openapi = self.stack.get("/openapi.json").json()
        self.assertEqual(openapi["openapi"], "3.1.0")
        self.assertIn("get", openapi["paths"]["/v1/jobs/{job}"])
        page = self.stack.get("/docs")
        self.assertIn(b"/v1/jobs/{job}:cancel", page.body)
        self.assertIn("style-src 'self'", page.header("Content-Security-Policy"))
        self.assertNotIn(b"<script", page.body)
        self.assertEqual(self.stack.get("/docs.css").header("Content-Type"), "text/css; charset=utf-8")
        self.assertEqual(self.stack.get("/").header("Location"), "/docs")

    # Errors

    def test_errors_have_reason_and_action(self):
        problem = self.problem(self.stack.get("/v1/jobs/nope"), 404, "JOB_NOT_FOUND")
        self.assertEqual(problem["type"], "urn:umbra:error:JOB_NOT_FOUND")
        self.assertIn("List the jobs", problem["action"])
        self.problem(self.stack.get("/v1/nothing"), 404, "ROUTE_NOT_FOUND")
        self.problem(self.stack.get("/nothing"), 404, "ROUTE_NOT_FOUND")
        wrong = self.stack.ask("PATCH", "/v1/jobs/x", body={})
        self.problem(wrong, 405, "METHOD_NOT_ALLOWED")
        self.assertEqual(wrong.header("Allow"), "GET")
        for target in ("/v1/jobs/..", "/v1/jobs/a%2fb", "/v1/jobs/a%00", "/v1//jobs"):
            self.problem(self.stack.get(target), 404, "ROUTE_NOT_FOUND")

    def test_bad_bodies(self):
        def create(body, *headers):
            return self.stack.ask("POST", "/v1/policies", headers, body)
        for body in (b"{", b"[]", b"no", b'{"nope":1}', b'{"description":[}', b'{"description":"\xff"}', b"{}}"):
            self.problem(create(body), 400, "INVALID_REQUEST")
        self.problem(create(b"{}", ("Content-Type", "text/plain")), 415, "INVALID_REQUEST")
        self.problem(self.stack.ask("POST", "/v1/jobs/x:cancel?name=y", body={}), 400, "INVALID_REQUEST")
        for deep in (b"[" * 100_000, b'{"a":' * 100_000, b'{"selection":' + b"[" * 200_000 + b"]" * 200_000 + b"}"):
            start = time.monotonic()
            self.problem(create(deep), 400, "INVALID_REQUEST")
            self.assertLess(time.monotonic() - start, 2)

    def test_timeouts_of_calls(self):
        self.assertEqual(self.stack.get("/v1/jobs", ("Request-Timeout", "30")).status, 200)
        self.problem(self.stack.get("/v1/jobs", ("Request-Timeout", "never")), 400, "INVALID_REQUEST")
        self.problem(self.stack.get("/v1/jobs", ("Request-Timeout", "601")), 400, "INVALID_REQUEST")

    # Conditions

    def test_conditions(self):
        made = self.stack.ask("POST", "/v1/policies?policyId=conditions", body=POLICY)
        self.assertEqual(made.status, 200, made)
        name = made.json()["name"]
        self.problem(self.stack.ask("POST", "/v1/policies?policyId=conditions", body=POLICY), 409, "POLICY_EXISTS")
        first = self.stack.get("/v1/" + name)
        tag = first.header("ETag")
        same = self.stack.get("/v1/" + name, ("If-None-Match", tag))
        self.assertEqual((same.status, same.body, same.header("ETag")), (304, b"", tag))
        self.assertEqual(self.stack.get("/v1/" + name, ("If-None-Match", '"other"')).status, 200)
        change = {"description": "Changed"}
        changed = self.stack.ask("PATCH", f"/v1/{name}?updateMask=description", [("If-Match", tag)], change)
        self.assertEqual((changed.status, changed.json()["description"]), (200, "Changed"), changed)
        self.assertEqual(self.stack.get("/v1/" + name, ("If-None-Match", tag)).status, 200)
        stale = self.stack.ask("PATCH", f"/v1/{name}?updateMask=description", [("If-Match", tag)], change)
        self.problem(stale, 412, "POLICY_CHANGED")
        self.problem(self.stack.ask("DELETE", "/v1/" + name, [("If-Match", tag)]), 412, "POLICY_CHANGED")
        body_etag = changed.json()["etag"]  # as it stands in the message
        gone = self.stack.ask("DELETE", "/v1/" + name, [("If-Match", f'"{body_etag}"')])
        self.assertEqual((gone.status, gone.json()), (200, {}), gone)
        self.problem(self.stack.get("/v1/" + name), 404, "POLICY_NOT_FOUND")
        self.problem(self.stack.ask("GET", "/v1/jobs", [("If-Match", '"1"')]), 400, "INVALID_REQUEST")

    def test_lists_have_tags_too(self):
        tag = self.stack.get("/v1/policies").header("ETag")
        self.assertEqual(self.stack.get("/v1/policies", ("If-None-Match", tag)).status, 304)

    # Downloads

    def test_disks_whole_and_in_parts(self):
        point = self.stack.points()[0]
        disk = self.stack.get("/v1/" + point["name"]).json()["disks"][0]
        target = f"/v1/{point['name']}/disks/{disk['name']}:download"
        with self.stack.connect() as connection:
            whole = connection.ask("GET", target)
            self.assertEqual((whole.status, len(whole.body)), (200, int(disk["capacityBytes"])), whole.headers)
            size = len(whole.body)
            for wanted, begin, end in (("0-9", 0, 10), (f"{size - 5}-", size - 5, size), ("-7", size - 7, size),
                                       ("65535-65536", 65535, 65537), (f"4096-{2 * size}", 4096, size)):
                part = connection.ask("GET", target, [("Range", "bytes=" + wanted)])
                self.assertEqual((part.status, part.header("Content-Range")), (206, f"bytes {begin}-{end - 1}/{size}"), wanted)
                self.assertEqual(part.body, whole.body[begin:end])
            head = connection.ask("HEAD", target)
            self.assertEqual((head.status, head.header("Content-Length")), (200, str(size)))
            self.problem(connection.ask("GET", target, [("Range", f"bytes={size}-")]), 416, "INVALID_REQUEST")
            tag = whole.header("ETag")
            self.assertEqual(connection.ask("GET", target, [("Range", "bytes=5-"), ("If-Range", tag)]).status, 206)
        self.problem(self.stack.get("/v1/recoveryPoints/nope/disks/vda:download"), 404, "RECOVERY_POINT_NOT_FOUND")

    # Browsers

    def test_other_sites_get_nothing(self):
        own = "https://" + self.stack.addresses()["http_address"]
        cookie = ("Cookie", "a=b; __Host-umbra-session=s3cret")
        cancel = "/v1/jobs/nope:cancel"
        for headers in ([cookie], [cookie, ("X-Umbra-Request", "1")], [cookie, ("Origin", own)],
                        [cookie, ("X-Umbra-Request", "1"), ("Origin", "https://evil.example")]):
            self.problem(self.stack.ask("POST", cancel, headers, {}), 403, "CSRF_REFUSED")
        for origin in (own, self.stack.cors):
            answer = self.stack.ask("POST", cancel, [cookie, ("X-Umbra-Request", "1"), ("Origin", origin)], {})
            self.assertNotEqual(answer.json().get("reason"), "CSRF_REFUSED")
        self.assertNotEqual(self.stack.ask("POST", cancel, body={}).json().get("reason"), "CSRF_REFUSED")

    def test_cors_by_configuration(self):
        wanted = ("Access-Control-Request-Method", "POST")
        allowed = self.stack.ask("OPTIONS", "/v1/policies", [("Origin", self.stack.cors), wanted])
        self.assertEqual((allowed.status, allowed.header("Access-Control-Allow-Origin")), (204, self.stack.cors))
        self.assertIn("If-Match", allowed.header("Access-Control-Allow-Headers"))
        refused = self.stack.ask("OPTIONS", "/v1/policies", [("Origin", "https://evil.example"), wanted])
        self.assertIsNone(refused.header("Access-Control-Allow-Origin"))
        self.assertEqual(self.stack.get("/v1/jobs", ("Origin", self.stack.cors)).header("Vary"), "Accept-Encoding, Authorization, Cookie")

    # Connections

    def test_one_connection_serves_many_requests(self):
        with self.stack.connect() as connection:
            for _ in range(20):
                self.assertEqual(connection.ask("GET", "/v1/repositories").status, 200)
            for _ in range(5):  # all at once
                connection.send_request("GET", "/v1/repositories")
            self.assertEqual([connection.read_answer().status for _ in range(5)], [200] * 5)
            connection.send_request("GET", "/v1/repositories", [("Connection", "close")])
            self.assertEqual(connection.read_answer().header("Connection"), "close")
            self.assertRaises(Closed, connection.read_answer)

    def test_bodies_in_chunks_and_with_expectation(self):
        with self.stack.connect() as connection:
            head = b"POST /v1/jobs/nope:cancel HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            if token := getattr(connection, "token", None):
                head += f"Authorization: Bearer {token}\r\n".encode()
            connection.send(head + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")
            self.problem(connection.read_answer(), 404, "JOB_NOT_FOUND")
            connection.send(head + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            self.assertEqual(connection.read_head().status, 100)
            connection.send(b"{}")
            self.problem(connection.read_answer(), 404, "JOB_NOT_FOUND")

    def test_too_much_is_refused(self):
        long = self.stack.ask("GET", "/v1/jobs", [("X-Long", "x" * HEADER_MAX)])
        self.problem(long, 431, "HEADER_TOO_LARGE")
        self.problem(self.stack.ask("GET", "/v1/jobs", [(f"X-{i}", "1") for i in range(120)]), 431, "HEADER_TOO_LARGE")
        self.problem(self.stack.ask("POST", "/v1/policies", body=b" " * (BODY_MAX + 1)), 413, "BODY_TOO_LARGE")
        with self.stack.connect() as connection:  # a line of the body that never ends
            connection.send(b"POST /v1/policies HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * (2 * HEADER_MAX))
            self.problem(connection.read_answer(), 431, "HEADER_TOO_LARGE")
        with self.stack.connect() as connection:  # before it is sent
            connection.send(b"POST /v1/policies HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
            self.problem(connection.read_answer(), 413, "BODY_TOO_LARGE")
        self.assertEqual(self.stack.ask("POST", "/v1/policies", body=b" " * BODY_MAX).status, 400)

    def test_what_is_no_request(self):
        for garbage in (b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", b"GET /v1/jobs HTTP/1.1\r\n\r\n",
                        b"GET https://x/ HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
                        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                        b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nBad Name: 1\r\n\r\n"):
            with self.stack.connect() as connection:
                connection.send(garbage)
                self.problem(connection.read_answer(), 400, "INVALID_REQUEST")
                self.assertRaises(Closed, connection.read_answer)
        for text in ("Bearer \xe9", "Bearer a\tb"):  # what metadata of gRPC can't carry
            self.problem(self.stack.ask("GET", "/v1/jobs", [("Authorization", text)]), 400, "INVALID_REQUEST")

    def test_tls_is_new_enough(self):
        host, port = self.stack.addresses()["http_address"].rsplit(":", 1)
        context = ssl.create_default_context(cadata=self.stack.authority())
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        with socket.create_connection((host, int(port))) as plain, self.assertRaises((ssl.SSLError, OSError)):
            context.wrap_socket(plain, server_hostname=host)
        with socket.create_connection((host, int(port)), 10) as plain:  # no TLS at all
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                self.assertNotIn(b"HTTP", plain.recv(100))
            except ConnectionResetError:
                pass

    def test_half_open_connections_give_way(self):
        host, port = self.stack.addresses()["http_address"].rsplit(":", 1)
        silent = [socket.create_connection((host, int(port)), 10) for _ in range(3 * PENDING_PER_ADDRESS)]
        slow = [self.stack.connect() for _ in range(20)]
        for connection in slow:
            connection.send(b"GET /v1/jobs HTTP/1.1\r\nHost")
        try:
            start = time.monotonic()
            for _ in range(10):
                self.assertEqual(self.stack.get("/v1/repositories").status, 200)
            self.assertLess(time.monotonic() - start, 5)
            wait_for(lambda: sum(is_open(s) for s in silent) <= PENDING_PER_ADDRESS, 5, "the oldest should be closed")
        finally:
            for one in silent + slow:
                one.close()

    # Events

    def test_events_resume_where_they_were(self):
        with self.stack.connect() as connection:
            events = Events(connection, "/v1/events:watch")
            self.assertEqual((events.head.status, events.head.header("Content-Type")), (200, "text/event-stream"))
            seen = [events.next() for _ in range(4)]
        self.assertEqual([int(id) for id, _, _ in seen], list(range(int(seen[0][0]), int(seen[0][0]) + 4)))
        self.assertTrue(all(data["sequence"] == id and name is None for id, name, data in seen))
        self.stack.daemon.stop()
        self.stack.start_daemon()
        with self.stack.connect() as connection:
            more = Events(connection, "/v1/events:watch?afterSequence=0", [("Last-Event-ID", seen[1][0])])
            self.assertEqual([more.next()[0] for _ in range(2)], [seen[2][0], seen[3][0]])
        self.stack.agent.wait_ready(self.stack.online, 30, "the agent should be back")

    def test_new_events_come_at_once(self):
        with self.stack.connect() as connection:
            events = Events(connection, "/v1/events:watch?afterSequence=-1")
            start = time.monotonic()
            self.stack.ask("POST", "/v1/jobs", body={"verify": {}})
            self.assertEqual(events.next()[2]["type"], "JOB_STATE_CHANGED")
            self.assertLess(time.monotonic() - start, 3)

    def test_watching_a_job_ends_with_it(self):
        job = self.stack.ask("POST", "/v1/jobs", body={"verify": {}}).json()["name"]
        with self.stack.connect() as connection:
            events = Events(connection, f"/v1/{job}:watch")
            last = None
            while (event := events.next())[1] is None:
                last = event
            self.assertEqual(last[2]["state"], "STATE_SUCCEEDED")
            self.assertEqual(event, (None, "end", {}))
            self.assertIsNone(events.next())
            self.assertEqual(connection.ask("GET", "/v1/" + job).status, 200)  # the connection is in step

    def test_a_stream_that_cant_begin_is_an_error(self):
        self.problem(self.stack.get("/v1/jobs/nope:watch"), 404, "JOB_NOT_FOUND")
        self.problem(self.stack.get("/v1/events:watch?afterSequence=-7"), 400, "INVALID_REQUEST")

    def test_streams_end_with_the_daemon(self):
        connections = [self.stack.connect() for _ in range(20)]
        streams = [Events(connection, "/v1/events:watch?afterSequence=-1") for connection in connections]
        start = time.monotonic()
        self.assertEqual(self.stack.daemon.stop(), 0)
        self.assertLess(time.monotonic() - start, 8)
        for stream in streams:
            event = stream.next()
            while event[1] is None:
                event = stream.next()
            self.assertEqual(event[2]["status"], 503, event)
        self.stack.start_daemon()
        self.stack.agent.wait_ready(self.stack.online, 30, "the agent should be back")
        for connection in connections:
            connection.close()


POLICY = {"description": "P", "selection": {"everythingElse": True}}


def is_open(plain):
    plain.setblocking(False)
    try:
        return plain.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


if __name__ == "__main__":
    BUILD = sys.argv.pop(1)
    unittest.main(verbosity=2)
