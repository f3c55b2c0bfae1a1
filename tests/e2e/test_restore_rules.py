"""The rules of a restore on real libvirt: links in the default folder, disks' places, networks that are there or gone."""
import pathlib
import xml.etree.ElementTree as ElementTree

from world import GUEST, EndToEndTest

SWITCH = "sw-rules"


class RestoreRules(EndToEndTest):
    def backed_up(self, vm=GUEST):
        """Id of a fresh recovery point."""
        return self.assert_succeeded(self.world.backup(vm=vm))["recoveryPoints"][0].split("/")[1]

    def link_of(self, vm):
        """The link in the default folder, whether there is one or not."""
        return self.stack.restored / self.lab.virsh("domuuid", vm)

    def test_machine_in_the_default_folder_has_no_link(self):
        name = self.restored("db-default")
        self.assert_succeeded(self.stack.umbra("restore", "run", self.backed_up(), "--name", name, "--watch"))
        path = pathlib.Path(self.lab.disk_paths(name)["vda"])
        self.assertEqual(path.parent, self.stack.restored / name)
        self.assertFalse(self.link_of(name).is_symlink())

    def test_machine_elsewhere_has_its_disks_there_and_a_link_in_the_default_folder(self):
        name = self.restored("db-elsewhere")
        folder = self.world.root / "elsewhere"
        self.assert_succeeded(self.stack.umbra("restore", "run", self.backed_up(), "--name", name, "--target-folder", folder,
                                               "--power-on", "--watch"))
        path = pathlib.Path(self.lab.disk_paths(name)["vda"])
        self.assertEqual(path, folder / name / "vda.qcow2", "its configuration names the new place")
        self.assertNotEqual(path, pathlib.Path(self.lab.disk_paths(GUEST)["vda"]))
        link = self.link_of(name)
        self.assertTrue(link.is_symlink())
        self.assertEqual(link.resolve(), (folder / name).resolve())
        self.addCleanup(link.unlink)
        self.lab.wait_agent(name)  # it runs from there

    def test_network_that_is_there_gets_a_new_port_and_one_that_is_gone_none(self):
        self.lab("network", "create", SWITCH)
        self.addCleanup(self.lab.run, "network", "destroy", SWITCH)
        self.new_machine("net", "--nic", f"network:{SWITCH}", "--memory-mib", 128)
        self.lab.wait_agent("net")
        self.world.wait_ready("net")
        point = self.backed_up("net")

        there = self.restored("net-there")
        job = self.assert_succeeded(self.stack.umbra("restore", "run", point, "--name", there, "--power-on", "--watch"))
        self.assertEqual(self.reasons(job), [])
        defined = self.adapter(there, "--inactive")
        self.assertEqual((defined.get("type"), defined.find("source").get("network")), ("network", SWITCH))
        self.assertIsNone(defined.find("link"), "the cable is in")
        adapter, original = self.adapter(there), self.adapter("net")
        self.assertNotEqual(adapter.find("mac").get("address"), original.find("mac").get("address"))
        ports = self.ports()
        for one in (adapter, original):
            self.assertIn(one.find("target").get("dev"), ports, "a port of its own on the switch")
        self.assertNotEqual(adapter.find("target").get("dev"), original.find("target").get("dev"))

        for name in (there, "net"):
            self.lab.virsh("destroy", name)
        self.lab("network", "destroy", SWITCH)
        gone = self.restored("net-gone")
        job = self.assert_succeeded(self.stack.umbra("restore", "run", point, "--name", gone, "--power-on", "--watch"))
        self.assertIn("ADAPTER_DISCONNECTED", self.reasons(job))
        self.assertTrue(any(SWITCH in warning["message"] for warning in job["warnings"]), job["warnings"])
        self.assert_disconnected(gone)
        self.assertEqual(self.lab.state(gone), "running")
        # In place, too.
        job = self.assert_succeeded(self.stack.umbra("restore", "run", point, "--in-place", "--yes", "--power-on", "--watch"))
        self.assertIn("ADAPTER_DISCONNECTED", self.reasons(job))
        self.assert_disconnected("net")

    def test_checkpoints_of_the_machine_are_listed_and_stay_with_it(self):
        vm = "tree"
        self.new_machine(vm, "--memory-mib", 128)
        self.lab.wait_agent(vm)
        self.lab.virsh("destroy", vm)
        self.lab.virsh("snapshot-create-as", vm, "inside")
        self.lab.virsh("start", vm)
        self.lab.wait_agent(vm)
        overlay = self.lab.root / "vms" / vm / "vda.overlay"
        self.lab.virsh("snapshot-create-as", vm, "beside", "--disk-only", "--diskspec", f"vda,snapshot=external,file={overlay}")
        shown = self.stack.wait_vm(vm, lambda found: len(found.get("checkpoints", [])) == 2)["checkpoints"]
        self.assertEqual([(c["name"], c.get("parent", ""), c["kind"]) for c in shown],
                         [("inside", "", "KIND_INTERNAL"), ("beside", "inside", "KIND_EXTERNAL")])
        self.assertEqual([c.get("current", False) for c in shown], [False, True])

        job = self.assert_succeeded(self.world.backup(vm=vm))
        self.assertIn("CHECKPOINTS_NOT_IN_BACKUP", self.reasons(job))
        point = job["recoveryPoints"][0]
        # In place: the external one is there still, of the other the job says that it is not.
        job = self.assert_succeeded(self.stack.umbra("restore", "run", point, "--in-place", "--yes", "--power-on", "--watch"))
        kept = [w["message"] for w in job["warnings"] if w["reason"] == "CHECKPOINTS_NOT_KEPT"]
        self.assertEqual(len(kept), 1, job["warnings"])
        self.assertIn("inside", kept[0])
        self.assertNotIn("beside", kept[0])
        self.assertEqual(self.lab.virsh("snapshot-list", vm, "--name").split(), ["beside"])
        self.assertEqual(self.lab.virsh("snapshot-current", vm, "--name").strip(), "beside")
        self.lab.wait_agent(vm)  # it boots from the restored overlay, which needs no other file
        self.assertEqual(self.lab.disk_paths(vm)["vda"], str(overlay))

    def assert_disconnected(self, vm):
        adapter = self.adapter(vm)
        self.assertNotEqual(adapter.get("type"), "null", "libvirt dies of that one")
        self.assertIsNone(adapter.find("source"))
        self.assertEqual(adapter.find("link").get("state"), "down")
        self.assertNotIn(adapter.find("target").get("dev"), self.ports())

    def adapter(self, vm, *options):
        return ElementTree.fromstring(self.lab.virsh("dumpxml", vm, *options)).find("devices/interface")

    def ports(self):
        """Devices on the lab's bridge."""
        return [line.split()[1].split("@")[0].rstrip(":")
                for line in self.lab("enter", "ip", "-o", "link", "show", "master", "fbr0").splitlines()]

    @staticmethod
    def reasons(job):
        return [warning.get("reason") for warning in job.get("warnings", [])]
