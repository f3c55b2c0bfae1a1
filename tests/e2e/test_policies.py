"""A policy made on the command line backs the guest up by itself, and retention thins the points as its dry run said."""
from stack import wait_for
from world import GUEST, EndToEndTest

POLICY = "minutely"


class Policies(EndToEndTest):
    def tearDown(self):
        if POLICY in [policy["name"].split("/")[1] for policy in self.stack.umbra("policy", "list").objects]:
            self.stack.umbra("policy", "delete", POLICY, "--yes")
        self.stack.umbra("vm", "label", GUEST, "backup-")
        wait_for(lambda: not self.stack.umbra("job", "list", "--active").objects, 120, "the policy's jobs should end")
        super().tearDown()

    def points_of_guest(self):
        return [point["name"] for point in self.stack.points(GUEST)]

    def verdicts(self, *rules):
        """Of this guest: another one of its name may have had points."""
        member = self.stack.vm(GUEST)["name"]
        return [verdict for verdict in self.stack.umbra("policy", "retention", POLICY, *rules).objects if verdict["member"] == member]

    def jobs(self, state=None):
        jobs = [job for job in self.stack.umbra("job", "list", "--limit", 0).objects if job.get("policy") == f"policies/{POLICY}"]
        return [job for job in jobs if state is None or job["state"] == state]

    def test_01_a_policy_runs_by_itself_and_is_thinned_as_foretold(self):
        self.assertIn(GUEST, [vm["displayName"] for vm in self.stack.umbra("coverage", "--only", "unprotected").objects])
        self.assertEqual(self.stack.umbra("vm", "label", GUEST, "backup=often").last["labels"], {"backup": "often"})
        made = self.stack.umbra("policy", "create", POLICY, "--select", "label.backup=often", "--schedule", "every 10 seconds",
                                "--rpo", "1h", "--no-saved-state")
        self.assertEqual(made.status, 0, str(made))
        preview = self.stack.umbra("policy", "preview", POLICY, "--days", "1").last
        self.assertEqual(len(preview["runs"]), 8640)
        self.assertEqual(preview["members"], [self.stack.vm(GUEST)["name"]])
        self.assertNotIn(GUEST, [vm["displayName"] for vm in self.stack.umbra("coverage", "--only", "unprotected").objects])

        wait_for(lambda: len(self.jobs("STATE_SUCCEEDED")) >= 4, 240, "the policy should back the guest up")
        self.assertNotIn("STATE_FAILED", [job["state"] for job in self.jobs()])
        due = [job["dueTime"] for job in self.jobs()]
        self.assertEqual(len(due), len(set(due)), "each due time once")
        self.assertFalse(self.stack.umbra("coverage", "--only", "rpo-missed").objects)

        self.assertTrue(self.stack.umbra("policy", "pause", POLICY).last["paused"])
        wait_for(lambda: not self.stack.umbra("job", "list", "--active").objects, 120, "the policy's jobs should end")
        points = self.points_of_guest()
        self.assertGreaterEqual(len(points), 4)
        verdicts = self.verdicts("--keep-last", "2")
        stay = [verdict["recoveryPoint"] for verdict in verdicts if verdict.get("keptBy")]
        self.assertEqual(sorted(verdict["recoveryPoint"] for verdict in verdicts), sorted(points))
        self.assertEqual(len(stay), 2)
        self.assertEqual(self.points_of_guest(), points, "a dry run changes nothing")

        # The rule is applied at once, and does what its dry run said.
        self.stack.umbra("policy", "update", POLICY, "--keep-last", "2")
        wait_for(lambda: sorted(self.points_of_guest()) == sorted(stay), 30, "retention should thin the points")
        # The next point makes the oldest go.
        self.stack.umbra("policy", "run", POLICY)
        wait_for(lambda: not self.stack.umbra("job", "list", "--active").objects, 120, "the run should end")
        wait_for(lambda: len(self.points_of_guest()) == 2, 30, "retention should thin the points")
        left = self.points_of_guest()
        self.assertIn(stay[0], left)
        self.assertEqual(len(set(left) & set(points)), 1)
        self.assertFalse(self.stack.umbra("vm", "label", GUEST, "backup-").last.get("labels"))

    def test_02_every_minute_is_every_minute(self):
        earlier = {job["name"] for job in self.jobs()}

        def succeeded():
            return [job for job in self.jobs("STATE_SUCCEEDED") if job["name"] not in earlier]

        made = self.stack.umbra("policy", "create", POLICY, "--select", f"name={GUEST}", "--schedule", "every minute",
                                "--keep-within", "1h", "--no-saved-state")
        self.assertEqual(made.status, 0, str(made))
        wait_for(lambda: len(succeeded()) >= 2, 180, "the policy should back the guest up twice")
        due = sorted(job["dueTime"] for job in succeeded())
        self.assertTrue(all(time.endswith(":00Z") for time in due), due)
        self.assertEqual(len(due), len(set(due)), "each due time once")
