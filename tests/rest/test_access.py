#!/usr/bin/python3
"""Proves over real TLS, with the real programs, who gets what by REST: every operation that /openapi.json has, for every role; people
who sign in with a browser; tokens that are revoked; and what of it is in the audit log. The hypervisor is simulated.

Usage: test_access.py BUILD [unittest's arguments]
"""
import pathlib
import re
import shutil
import sys
import tempfile
import time
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent)]
from client import Closed, Events  # noqa: E402
from test_rest import GUEST, RestStack  # noqa: E402

ROLES = ("viewer", "operator", "restore-operator", "admin")
PASSWORD = "a long enough one for alice"
MARK = ("X-Umbra-Request", "1")


def covers(patterns, permission):
    return any(pattern in ("*", permission, permission.split(".")[0] + ".*") for pattern in patterns)


class AccessTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="uacc.", dir="/tmp"))
        cls.stack = RestStack(cls.folder, BUILD, "")
        cls.stack.start_daemon()
        cls.first_password = (cls.stack.daemon_data / "first-credential").read_text()
        cls.stack.token = cls.stack.make_token()
        cls.stack.start_agent()
        cls.vm = cls.stack.wait_vm(GUEST)["name"]

    @classmethod
    def tearDownClass(cls):
        cls.stack.stop()
        shutil.rmtree(cls.folder)

    def reason(self, answer):
        return (answer.status, answer.json().get("reason") if answer.status >= 400 else None)

    def operations(self):
        """(method, path with names filled in, access, whether it is a stream) of everything that there is."""
        api = self.stack.get("/openapi.json").json()
        for path, verbs in api["paths"].items():
            for verb, operation in verbs.items():
                content = operation["responses"]["200"]["content"]
                yield (verb.upper(), re.sub(r"\{[^}]*\}", "x1", path), operation["x-umbra-access"], "application/json" not in content)

    def test_matrix(self):
        """Every operation, every role: refused where the role lacks what the operation needs, and only there. What would change
        something is called only where it is refused."""
        checks = failed = 0
        roles = {role: self.stack.get(f"/v1/roles/{role}").json()["permissions"] for role in ROLES}
        for role, permissions in roles.items():
            token = self.stack.make_token("admin", role)
            with self.stack.connect(token=token) as connection:
                for method, path, access, streams in self.operations():
                    # Of a job it depends on the kind; an empty body has none, which is a backup's permission. Who is signed in is asked
                    # more by the method itself (identity_calls_test).
                    allowed = "permission" not in access or covers(permissions, access["permission"])
                    if streams or "signedIn" in access or (allowed and method != "GET"):
                        continue
                    answer = connection.ask(method, path, body=None if method in ("GET", "DELETE") else {})
                    refused = self.reason(answer) == (403, "PERMISSION_DENIED")
                    checks += 1
                    if refused == allowed or answer.status in (401, 501):
                        failed += 1
                        print(f"{method} {path} as {role}: {answer}")
        print(f"matrix over REST: {checks} checks, {checks - failed} passed, {failed} failed")
        self.assertEqual(failed, 0)
        self.assertGreater(checks, 150)

    def test_nobody_gets_nothing(self):
        with self.stack.connect(token=None) as connection:
            for method, path, access, _ in self.operations():
                if "anyone" in access:
                    continue
                answer = connection.ask(method, path, body=None if method in ("GET", "DELETE") else {})
                # A body that can't be read is refused before anybody is asked who he is.
                self.assertIn(self.reason(answer), ((401, "UNAUTHENTICATED"), (400, "INVALID_REQUEST")), (method, path, answer))
            answer = connection.ask("GET", "/v1/hosts", [("Authorization", "Bearer umbra_wrong")])
            self.assertEqual(self.reason(answer), (401, "UNAUTHENTICATED"))

    def test_a_part_is_all_that_a_limited_token_shows(self):
        token = self.stack.make_token("admin", "viewer@hosts/nosuchhost")
        with self.stack.connect(token=token) as connection:
            self.assertEqual(connection.ask("GET", "/v1/hosts").json()["hosts"], [])
            self.assertEqual(self.reason(connection.ask("GET", f"/v1/{self.vm}")), (403, "PERMISSION_DENIED"))
            self.assertEqual(self.reason(connection.ask("GET", "/v1/repositories")), (403, "PERMISSION_DENIED"))
        host = "/".join(self.vm.split("/")[:2])
        with self.stack.connect(token=self.stack.make_token("admin", f"viewer@{host}")) as connection:
            self.assertEqual([h["name"] for h in connection.ask("GET", "/v1/hosts").json()["hosts"]], [host])
            self.assertEqual(connection.ask("GET", f"/v1/{self.vm}").status, 200)

    def test_a_browser_signs_in_and_out(self):
        made = self.stack.ask("POST", "/v1/users", body={"user": {"name": "users/alice", "grants": [{"role": "roles/operator"}]},
                                                         "password": PASSWORD})
        self.assertEqual(made.status, 200, made)
        self.assertNotIn(PASSWORD, made.body.decode())
        with self.stack.connect(token=None) as browser:
            wrong = browser.ask("POST", "/v1/sessions", [MARK], {"user": "alice", "password": "not hers at all"})
            self.assertEqual(self.reason(wrong), (401, "UNAUTHENTICATED"))
            signed_in = browser.ask("POST", "/v1/sessions", [MARK], {"user": "alice", "password": PASSWORD})
            self.assertEqual(signed_in.status, 200, signed_in)
            self.assertFalse(signed_in.json().get("sessionSecret"))
            cookie = signed_in.header("Set-Cookie")
            for attribute in ("__Host-umbra-session=", "Secure", "HttpOnly", "SameSite=Strict", "Path=/"):
                self.assertIn(attribute, cookie)
            own = [("Cookie", cookie.split(";")[0])]
            ours = own + [MARK, ("Origin", f"https://{browser.host}")]
            who = browser.ask("GET", "/v1/identity", own)
            self.assertEqual((who.status, who.json()["name"]), (200, "users/alice"), who)
            entries = self.stack.get("/v1/auditEntries?pageSize=1000").json()["entries"]
            signed = [e["principal"] for e in entries if "CreateSession" in e["method"] and e["code"] == "OK"]
            self.assertIn("users/alice", signed)  # not nobody's, of whom entries may be left out
            self.assertNotIn("nobody", signed)
            self.assertEqual(self.reason(browser.ask("GET", "/v1/users", own)), (403, "PERMISSION_DENIED"))
            # Another site has the cookie sent along, but neither the mark nor our origin.
            for headers in (own, own + [MARK], own + [MARK, ("Origin", "https://evil.example")]):
                self.assertEqual(self.reason(browser.ask("POST", "/v1/jobs", headers, {})), (403, "CSRF_REFUSED"))
            gone = browser.ask("DELETE", "/v1/users/me/sessions/current", ours)
            self.assertEqual(gone.status, 200, gone)
            self.assertIn("Max-Age=0", gone.header("Set-Cookie"))
            self.assertEqual(self.reason(browser.ask("GET", "/v1/identity", own)), (401, "UNAUTHENTICATED"))

    def test_the_first_credential_opens_and_goes(self):
        password = next(word for word in self.first_password.split() if len(word) >= 20)
        with self.stack.connect(token=None) as browser:
            signed_in = browser.ask("POST", "/v1/sessions", [MARK], {"user": "admin", "password": password})
            self.assertEqual(signed_in.status, 200, signed_in)
            ours = [("Cookie", signed_in.header("Set-Cookie").split(";")[0]), MARK, ("Origin", f"https://{browser.host}")]
            changed = browser.ask("POST", "/v1/users/me:setPassword", ours, {"oldPassword": password, "newPassword": PASSWORD})
            self.assertEqual(changed.status, 200, changed)
            self.assertEqual(self.reason(browser.ask("GET", "/v1/identity", ours[:1])), (401, "UNAUTHENTICATED"))
        self.assertFalse((self.stack.daemon_data / "first-credential").exists())

    def test_a_revoked_token_ends_its_stream(self):
        made = self.stack.new_api_token("admin", "viewer")
        with self.stack.connect(token=made["secret"]) as connection:
            events = Events(connection, "/v1/events:watch?afterSequence=-1")
            self.assertEqual(events.head.status, 200)
            self.assertEqual(self.stack.ask("DELETE", f"/v1/{made['token']['name']}").status, 200)
            start = time.monotonic()  # nothing happens, and it ends all the same
            event = None
            try:
                while (event := events.next()) is not None and event[1] != "end":
                    pass
            except Closed:
                pass
            self.assertEqual(event and event[2].get("reason"), "UNAUTHENTICATED")
            self.assertLess(time.monotonic() - start, 5)

    def test_the_audit_log_has_what_was_done_and_no_secret(self):
        refused = self.stack.make_token("admin", "viewer")
        self.assertEqual(self.stack.ask("POST", "/v1/jobs", (), {}, token=refused).status, 403)
        self.stack.ask("POST", "/v1/users", body={"user": {"name": "users/bob"}, "password": "planted-secret-of-bob"})
        log = self.stack.get("/v1/auditEntries?pageSize=1000")
        entries = log.json()["entries"]
        self.assertTrue(any(e["code"] == "PERMISSION_DENIED" and "CreateJob" in e["method"] and e["peer"] == "127.0.0.1" for e in entries))
        self.assertTrue(any("CreateUser" in e["method"] and e["code"] == "OK" for e in entries))
        for secret in ("planted-secret-of-bob", PASSWORD, refused, self.stack.token):
            self.assertNotIn(secret, log.body.decode())
            self.assertNotIn(secret, (self.stack.daemon_data / "catalog.db").read_bytes().decode("latin-1"))
        checked = self.stack.get("/v1/auditEntries:verify").json()
        self.assertFalse(checked["problem"], checked)
        self.assertGreaterEqual(int(checked["entryCount"]), len(entries))
        logs = "".join(path.read_text(errors="replace") for path in self.folder.rglob("*.log"))
        for secret in ("planted-secret-of-bob", PASSWORD, refused, self.stack.token):
            self.assertNotIn(secret, logs)


if __name__ == "__main__":
    BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)
