"""umbrad and umbra-agent killed (SIGKILL) at every named point of a backup and of a restore, and started again.

Whatever the moment: the guest runs and isn't frozen, no backup job, checkpoint, scratch file or socket is left, the job has ended
with a reason, a recovery point is visible exactly when its job succeeded, and the next backup works.
"""
from stack import wait_for
from world import GUEST, EndToEndTest, crash_points

CRASH_TIMEOUT_S = 60
RESTORE_WORDS = ("restore", "delete", "define")
# Of server/server.h; the others in the daemon are passed while a backup runs.
STARTUP_POINTS = ("daemon.catalog_open", "daemon.jobs_recovered", "daemon.catalog_rebuilt", "daemon.listening")
# The daemon's job engine has a point before and after it records each of these events of a backup that goes well.
JOB_EVENTS = ("assign", "accept", "agent-done", "repo-committed")


class Crashes(EndToEndTest):
    def test_agent_killed_at_every_step_of_a_backup(self):
        names = [name for name in crash_points("agent") if not any(word in name for word in RESTORE_WORDS)]
        self.assertGreaterEqual(len(names), 8, names)
        for name in names:
            with self.subTest(crash_point=name):
                self.crash_agent(name)
        self.assert_succeeded(self.world.backup())

    def crash_agent(self, name):
        before = self.point_names()
        self.world.restart_agent(env={"UMBRA_CRASH_POINT": name})
        job = self.world.begin("backup", "run", GUEST)
        self.wait_death(self.stack.agent, name)
        self.stack.start_agent()
        ended = self.world.ended(job)
        self.assert_consistent(ended, before, "AGENT_RESTARTED", "AGENT_LOST")
        self.assert_clean()
        self.assertTrue(self.world.writes())

    def point_names(self):
        return {point["name"] for point in self.stack.points()}

    def assert_consistent(self, job, before, *reasons):
        """A recovery point is visible exactly when its job succeeded."""
        new = self.point_names() - before
        if job["state"] == "STATE_SUCCEEDED":
            self.assertEqual(new, set(job["recoveryPoints"]))
        else:
            self.assert_failed(job, *reasons)
            self.assertEqual(new, set())

    def wait_death(self, daemon, name):
        wait_for(lambda: daemon.pid() is None, CRASH_TIMEOUT_S, f"crash point {name} should be passed")

    def test_agent_killed_at_every_step_of_a_restore_in_place(self):
        self.assert_succeeded(self.world.backup())
        names = [name for name in crash_points("agent") if any(word in name for word in RESTORE_WORDS)]
        self.assertGreaterEqual(len(names), 3, names)
        point = self.stack.points(GUEST)[0]["name"]
        for name in names:
            with self.subTest(crash_point=name):
                self.crash_restore(name, ("restore", "run", point, "--in-place", "--yes"))
        self.lab.virsh("start", GUEST)
        self.lab.wait_agent(GUEST)
        self.assertTrue(self.lab.verify_guest(GUEST)["kept"])
        folder = self.lab.root / "vms" / GUEST
        self.assertEqual({path.name for path in folder.iterdir()} - {"define.xml"}, {"vda.qcow2"})

    def crash_restore(self, name, command):
        """A restore in place that was cut short may leave the machine deleted, but then it can be done again."""
        self.stack.agent.stop()
        self.stack.start_agent(env={"UMBRA_CRASH_POINT": name})
        job = self.world.begin(*command)
        self.wait_death(self.stack.agent, name)
        self.stack.start_agent()
        self.assert_failed(self.world.ended(job), "AGENT_RESTARTED", "AGENT_LOST")
        self.assert_succeeded(self.stack.umbra(*command, "--watch"))

    def test_daemon_killed_at_every_step_of_a_backup(self):
        names = [name for name in crash_points("server") + crash_points("storage/repo") if name not in STARTUP_POINTS]
        self.assertGreaterEqual(len(names), 4, names)
        names += [f"jobs.{event}.{when}" for event in JOB_EVENTS for when in ("before", "after")]
        for name in names:
            with self.subTest(crash_point=name):
                self.crash_daemon(name)
        verified = self.stack.umbra("repository", "verify", "--watch")
        self.assertEqual(verified.status, 0, str(verified))
        self.assert_succeeded(self.world.backup())

    def test_daemon_killed_at_every_step_of_its_start(self):
        before = self.point_names()
        self.assertGreaterEqual(set(crash_points("server")), set(STARTUP_POINTS))
        for name in STARTUP_POINTS:
            with self.subTest(crash_point=name):
                self.stack.daemon.stop()
                self.stack.daemon.launch(["--config", self.stack.config], {"UMBRA_CRASH_POINT": name})
                self.wait_death(self.stack.daemon, name)
                self.stack.start_daemon()
                self.assertEqual(self.point_names(), before)
        self.stack.agent.wait_ready(self.stack.online, 60, "the agent should come back")

    def crash_daemon(self, name):
        self.stack.daemon.stop()
        self.stack.start_daemon(env={"UMBRA_CRASH_POINT": name})
        self.stack.agent.wait_ready(self.stack.online, 60, "the agent should come back")
        self.world.wait_ready()
        before = self.point_names()
        self.change_something()
        self.stack.umbra("backup", "run", GUEST)  # its answer may be lost
        self.wait_death(self.stack.daemon, name)
        self.stack.start_daemon()
        job = self.stack.umbra("job", "list", "--limit", 1).last["name"]
        ended = self.world.ended(job, timeout_s=120)
        self.assert_consistent(ended, before, "DAEMON_RESTARTED", "SESSION_NOT_FOUND", "AGENT_LOST", "LINK_CLOSED")
        self.assert_clean()

    def change_something(self):
        """New data on the guest's disk, so that the next backup has something to upload."""
        self.lab.guest(GUEST, "dd", "if=/dev/urandom", "of=/data/new", "bs=1M", "count=8")

    def test_daemon_killed_in_the_middle_of_an_upload(self):
        self.change_something()
        job = self.world.hold_mid_copy()
        self.stack.daemon.kill()
        self.stack.start_daemon()
        ended = self.world.ended(job, timeout_s=120)
        self.assertIn(ended["state"], ("STATE_FAILED", "STATE_SUCCEEDED"))
        if ended["state"] == "STATE_FAILED":
            self.assert_failed(ended, "DAEMON_RESTARTED", "SESSION_NOT_FOUND", "AGENT_LOST", "LINK_CLOSED")
            self.assert_nothing_visible()
        self.stack.agent.wait_ready(self.stack.online, 60, "the agent should come back")
        self.assert_succeeded(self.world.backup())
        verified = self.stack.umbra("repository", "verify", "--watch")
        self.assertEqual(verified.status, 0, str(verified))
