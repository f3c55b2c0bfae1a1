"""umbrad killed at every named point: of backups, of restores, of each change of a job, of its own start; and started again.

Whatever the moment, the job ends, with a reason when it failed; a recovery point is visible exactly when its job succeeded, and is then
whole; the agent puts everything back; the next backup works; the repository holds no damage.
"""
import os
import signal
import subprocess

import points
import walk
from stack import wait_for
from walk import GUEST, SimulatedWorld, WalkTest, add_tests

# Before these nothing is committed, and the data session dies with the daemon. From the publication on, the backup has succeeded.
FAILS = ("repo.pack.sealed", "repo.commit.before_publish")
WORLD = None


def setUpModule():  # noqa: N802 (unittest's name)
    global WORLD
    WORLD = walk.started(SimulatedWorld())


def tearDownModule():  # noqa: N802
    WORLD.stop(walk.Options.keeps())


class DaemonTest(WalkTest):
    clean_after = False
    names = 0  # of restored machines so far

    @property
    def world(self):
        return WORLD

    def setUp(self):
        self.stack.agent.signal(signal.SIGCONT)
        if self.stack.daemon.pid() is None:
            self.stack.start_daemon()
        if self.stack.agent.pid() is None:
            self.stack.start_agent()
        self.world.wait_ready()
        self.before = self.point_names()

    def armed_daemon(self, name):
        """Starts the daemon again, to die at the point."""
        self.stack.daemon.stop()
        self.stack.start_daemon(env={"UMBRA_CRASH_POINT": name})
        self.world.wait_ready()
        self.before = self.point_names()

    def newest_job(self):
        return self.stack.umbra("job", "list", "--limit", 1).last["name"]

    def ask(self, *command):
        """Asks for a job; the answer may be lost with the daemon."""
        self.stack.umbra(*command)

    def after_death(self, name, succeeded=None):
        self.wait_death(self.stack.daemon, name)
        self.stack.start_daemon()
        self.stack.agent.signal(signal.SIGCONT)
        if self.stack.agent.pid() is None:
            self.stack.start_agent()
        job = self.world.ended(self.newest_job())
        self.assert_ended(job, self.before, succeeded)
        self.world.wait_ready()
        self.assert_agent_is_clean()
        for point in job.get("recoveryPoints", []):
            self.restore_whole(point)
        self.assert_succeeded(self.stack.umbra("backup", "run", GUEST, "--watch"))
        return job

    def assert_agent_is_clean(self):
        wait_for(lambda: not self.files_of_agent(), 15, "the agent should put everything back")

    def restore_whole(self, point):
        """Every chunk of it is there and verified."""
        self.assert_succeeded(self.stack.umbra("restore", "run", point, "--name", self.new_name(), "--watch"))

    def new_name(self):
        DaemonTest.names += 1
        return f"restored-{DaemonTest.names}"

    # Ways to pass the points of server/jobs

    def hold(self, *command):
        """A job whose agent stands still from before it gets it on."""
        self.stack.agent.signal(signal.SIGSTOP)
        job = self.stack.umbra(*command).last["name"]
        wait_for(lambda: self.stack.job(job)["state"] == "STATE_DISPATCHING", 10, "the job should be sent to the agent")
        return job

    def cancel_requested(self):
        self.ask("backup", "cancel", self.hold("backup", "run", GUEST))

    def agent_cancelled(self):
        self.ask("backup", "cancel", self.hold("backup", "run", GUEST))
        self.stack.agent.signal(signal.SIGCONT)

    def agent_failed(self):
        point = self.stack.points()[0]["name"]
        (self.stack.agent_data / "simulated/taken").mkdir(exist_ok=True)
        self.ask("restore", "run", point, "--name", "taken")

    def lease_expired(self):
        """The agent dies in the middle, and stays so."""
        self.stack.agent.stop()
        self.stack.start_agent(env={"UMBRA_CRASH_POINT": "agent.set_made"})
        self.world.wait_ready()
        self.ask("backup", "run", GUEST)
        self.wait_death(self.stack.agent, "agent.set_made")

    def agent_lost(self):
        self.lease_expired()
        self.stack.start_agent(online=False)

    def window_missed(self):
        """Its host isn't there, and the time in which it may begin is over."""
        self.stack.agent.stop()
        self.ask("backup", "run", GUEST, "--begin-within", "1")

    def backup(self):
        self.ask("backup", "run", GUEST)


class DaemonInABackup(DaemonTest):
    def walk(self, name):
        self.stack.agent.stop()  # a new simulated machine is full of new noise, so that there is something to upload
        self.stack.start_agent()
        self.armed_daemon(name)
        self.backup()
        self.after_death(name, succeeded=name not in FAILS)


class DaemonWhileAJobChanges(DaemonTest):
    def walk(self, name):
        _, event, when = name.split(".")
        if event == "server-restarted":
            return self.walk_restart(name)
        self.armed_daemon(name)
        ways = {"cancel-requested": self.cancel_requested, "agent-cancelled": self.agent_cancelled, "agent-failed": self.agent_failed,
                "agent-lost": self.agent_lost, "lease-expired": self.lease_expired,
                "window-missed": self.window_missed}
        ways.get(event, self.backup)()
        job = self.after_death(name)
        if event == "agent-cancelled" or (event, when) == ("cancel-requested", "after"):
            self.assertEqual(job["state"], "STATE_CANCELLED", job)
        if event in ("agent-failed", "agent-lost", "lease-expired", "window-missed"):
            self.assertEqual(job["state"], "STATE_FAILED", job)
        if event in ("repo-committed", "agent-done"):
            self.assertEqual(job["state"], "STATE_SUCCEEDED", "it was committed before")
        return None

    def walk_restart(self, name):
        """The daemon dies again when it sorts out what its death left."""
        self.hold("backup", "run", GUEST)
        self.stack.daemon.kill()
        self.stack.daemon.launch(["--config", self.stack.config], {"UMBRA_CRASH_POINT": name})
        self.after_death(name)


class DaemonInARestore(DaemonTest):
    def walk(self, name):
        self.assert_succeeded(self.stack.umbra("backup", "run", GUEST, "--watch"))
        self.armed_daemon(name)
        point = self.stack.points()[0]["name"]
        machine = self.new_name()
        self.ask("restore", "run", point, "--name", machine)
        job = self.after_death(name)
        if job["state"] == "STATE_SUCCEEDED":
            self.stack.wait_vm(machine, timeout_s=15)
        self.restore_whole(point)


class DaemonWhenAPolicyIsDue(DaemonTest):
    def walk(self, name):
        """Each due time of the policy makes one job of the machine, before the death and after it."""
        policy = f"walk-{name.replace('.', '-').replace('_', '-')}"
        self.armed_daemon(name)
        self.stack.umbra("policy", "create", policy, "--vm", GUEST, "--schedule", "every 2 seconds")
        self.wait_death(self.stack.daemon, name)
        self.stack.start_daemon()
        self.world.wait_ready()
        wait_for(lambda: len(self.jobs_of(policy)) >= 3, 60, "the policy should go on")
        self.stack.umbra("policy", "delete", policy, "--yes")
        jobs = self.jobs_of(policy)
        due = [job["dueTime"] for job in jobs]
        self.assertEqual(len(due), len(set(due)), due)
        for job in jobs:
            self.world.ended(job["name"])

    def jobs_of(self, policy):
        return [job for job in self.stack.umbra("job", "list", "--limit", 0).objects if job.get("policy") == f"policies/{policy}"]


class DaemonStarts(DaemonTest):
    def walk(self, name):
        self.stack.daemon.stop()
        self.stack.daemon.launch(["--config", self.stack.config], {"UMBRA_CRASH_POINT": name})
        self.wait_death(self.stack.daemon, name)
        self.stack.start_daemon()
        self.assertEqual(self.point_names(), self.before)
        self.world.wait_ready()
        self.assert_succeeded(self.stack.umbra("backup", "run", GUEST, "--watch"))

    def test_99_repository_is_whole_in_the_end(self):
        verified = self.stack.umbra("repository", "verify", "--watch")
        self.assertEqual(verified.status, 0, str(verified))


class DaemonAndItsCatalog(DaemonTest):
    def walk(self, name):
        """Copies that were there stay, half ones don't show; a restore that was cut is made again."""
        if name.startswith("restore_catalog."):
            return self.walk_restore(name)
        self.must_copy()
        self.armed_daemon(name)
        before = self.copies()  # the stop made one
        self.ask("catalog", "backup")
        self.wait_death(self.stack.daemon, name)
        self.assertFalse(list((self.stack.daemon_data / "repositories/main/tmp").iterdir()))
        self.stack.start_daemon()
        self.assertEqual(self.copies(), before)
        self.assertFalse((self.stack.daemon_data / "catalog-copy.db").exists())
        self.must_copy()
        return None

    def walk_restore(self, name):
        self.must_copy()
        self.stack.daemon.stop()
        self.assertEqual(self.restore(env={"UMBRA_CRASH_POINT": name}).returncode, -signal.SIGKILL)
        done = self.restore()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.stack.start_daemon()
        self.assertEqual(self.point_names(), self.before)
        self.world.wait_ready()  # the agent is back with the certificate that it had
        self.assert_succeeded(self.stack.umbra("backup", "run", GUEST, "--watch"))

    def restore(self, env=None):
        data = self.stack.daemon_data
        return subprocess.run([str(self.stack.daemon.binary), "--config", str(self.stack.config), "restore-catalog", "--replace",
                               "--repository", str(data / "repositories/main"), "--key-file", str(data / "keys/main.key")],
                              capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})

    def must_copy(self):
        done = self.stack.umbra("catalog", "backup")
        self.assertEqual(done.status, 0, str(done))

    def copies(self):
        return [copy["id"] for copy in self.stack.umbra("catalog", "show").last["repositories"][0].get("copies", [])]


RESTORE_EVENTS = ("jobs.assign.", "jobs.accept.", "jobs.agent-done.")

add_tests(DaemonInABackup, points.names_in(points.DAEMON_BACKUP), DaemonInABackup.walk)
add_tests(DaemonWhileAJobChanges, points.names_in(points.DAEMON_JOB), DaemonWhileAJobChanges.walk)
add_tests(DaemonInARestore, [name for name in points.names_in(points.DAEMON_JOB) if name.startswith(RESTORE_EVENTS)],
          DaemonInARestore.walk)
add_tests(DaemonWhenAPolicyIsDue, points.names_in(points.DAEMON_POLICY), DaemonWhenAPolicyIsDue.walk)
add_tests(DaemonAndItsCatalog, points.names_in(points.DAEMON_CATALOG), DaemonAndItsCatalog.walk)
add_tests(DaemonStarts, points.names_in(points.DAEMON_START), DaemonStarts.walk)
