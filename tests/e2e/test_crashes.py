"""umbrad and umbra-agent killed (SIGKILL) at every named point of a backup and of a restore, and started again.

Whatever the moment: the guest runs and isn't frozen, no backup job, checkpoint, scratch file or socket is left, the job has ended
with a reason, a recovery point is visible exactly when its job succeeded, and the next backup works.
"""
import time

from world import GUEST, EndToEndTest, crash_points
from stack import wait_for

CRASH_TIMEOUT_S = 60


class Crashes(EndToEndTest):
    def test_agent_killed_at_every_step_of_a_backup(self):
        points = [name for name in crash_points("agent") if "restore" not in name]
        self.assertGreaterEqual(len(points), 5, "the flow must have more crash points")
        for name in points:
            with self.subTest(crash_point=name):
                self.crash_agent(name)
        self.assert_succeeded(self.world.backup())

    def crash_agent(self, name):
        before = {point["name"] for point in self.stack.points()}
        self.world.restart_agent(env={"UMBRA_CRASH_POINT": name})
        job = self.world.begin("backup", "run", GUEST)
        self.wait_death(self.stack.agent, name)
        start = time.monotonic()
        self.stack.start_agent()
        ended = self.world.ended(job)
        self.assert_failed(ended, "AGENT_RESTARTED", "AGENT_LOST")
        self.assertEqual({point["name"] for point in self.stack.points()}, before)
        self.assert_clean()
        self.assertTrue(self.world.writes())
        self.assertLess(time.monotonic() - start, 60)

    def wait_death(self, daemon, name):
        wait_for(lambda: daemon.pid() is None, CRASH_TIMEOUT_S, f"crash point {name} should be passed")

    def test_agent_killed_at_every_step_of_a_restore(self):
        self.assert_succeeded(self.world.backup())
        for name in [name for name in crash_points("agent") if "restore" in name]:
            with self.subTest(crash_point=name):
                target = self.restored("db-crashed")
                self.world.restart_agent(env={"UMBRA_CRASH_POINT": name})
                job = self.world.begin("restore", "run", "latest", "--vm", GUEST, "--name", target)
                self.wait_death(self.stack.agent, name)
                self.stack.start_agent()
                self.assert_failed(self.world.ended(job), "AGENT_RESTARTED", "AGENT_LOST")
                self.remove_machine(target)
        self.world.restart_agent()
        target = self.restored("db-crashed")
        self.assert_succeeded(self.stack.umbra("restore", "run", "latest", "--vm", GUEST, "--name", target, "--watch"))

    def test_daemon_killed_at_every_step_of_a_backup(self):
        points = crash_points("server") + crash_points("storage")
        points = [name for name in points if name.startswith(("daemon.", "repo."))]
        self.assertGreaterEqual(len(points), 2, "the flow must have more crash points")
        for name in points:
            with self.subTest(crash_point=name):
                self.crash_daemon(name)
        verified = self.stack.umbra("repository", "verify", "--watch")
        self.assertEqual(verified.status, 0, str(verified))
        self.assert_succeeded(self.world.backup())

    def crash_daemon(self, name):
        before = {point["name"] for point in self.stack.points()}
        self.stack.daemon.stop()
        self.stack.start_daemon(env={"UMBRA_CRASH_POINT": name})
        self.stack.agent.wait_ready(self.stack.online, 60, "the agent should come back")
        self.world.wait_ready()
        self.change_something()
        job = self.world.begin("backup", "run", GUEST)
        self.wait_death(self.stack.daemon, name)
        self.stack.start_daemon()
        ended = self.world.ended(job, timeout_s=120)
        new = {point["name"] for point in self.stack.points()} - before
        self.assertEqual(len(new), 1 if ended["state"] == "STATE_SUCCEEDED" else 0, ended)
        if ended["state"] != "STATE_SUCCEEDED":
            self.assertTrue(ended["error"]["reason"])
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
