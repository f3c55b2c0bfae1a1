"""umbrad killed (SIGKILL) in the middle of an upload. tests/crash has every named point of both daemons."""
from world import EndToEndTest, GUEST


class Crashes(EndToEndTest):
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
