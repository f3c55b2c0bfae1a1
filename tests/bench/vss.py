"""What a backup costs a guest that can't freeze itself: how long it stands still while its memory is saved.

Peer: `virsh save` and `virsh restore` of the same guest in the same run, which is what a save costs without a point-in-time view. Both
sides run in turns; the best of three of each counts, because other load on the machine only ever makes things slower.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "deploy/local"))
from first_vm import MeasureError, say, timed, umbra_timed  # noqa: E402
from lab import Lab  # noqa: E402
from stack import Stack, number, seconds  # noqa: E402

GUEST = "saved"
MEMORY_MIB = 512
ROUNDS = 3
GOAL_MS = 600


def downtime_ms(stack):
    """Of one backup by saved state, and the bytes of its memory."""
    _, job = umbra_timed(stack, "backup", "run", GUEST)
    point = stack.umbra("recovery-point", "show", job["recoveryPoints"][0]).last
    if point["mechanism"] != "BACKUP_MECHANISM_SAVED_STATE":
        raise MeasureError(f"{GUEST} was backed up by {point['mechanism']}")
    return seconds(point["downtime"]) * 1000, number(point["memory"], "sizeBytes")


def save_and_restore_ms(lab, file):
    """virsh save and virsh restore, one after the other."""
    virsh = ["virsh", "-c", lab.uri]
    took = timed([*virsh, "save", GUEST, file])
    took += timed([*virsh, "restore", file])
    file.unlink()
    return took * 1000


def run(folder, build, cache):
    folder = pathlib.Path(folder) / "vss"
    folder.mkdir()
    lab = Lab(folder / "lab", cache)
    stack = Stack(folder / "u", build, lab.uri)
    try:
        lab.start()
        lab.create(GUEST, "--memory-mib", MEMORY_MIB, "--no-agent")
        stack.start_daemon()
        stack.start_agent()
        stack.wait_vm(GUEST, lambda vm: vm.get("mechanism") == "BACKUP_MECHANISM_SAVED_STATE")
        ours, peers, state_bytes = [], [], 0
        for i in range(ROUNDS):
            took, state_bytes = downtime_ms(stack)
            ours.append(took)
            peers.append(save_and_restore_ms(lab, folder / "peer.state"))
            say(f"round {i + 1}: downtime {ours[-1]:.0f} ms, virsh save + restore {peers[-1]:.0f} ms")
        yield {"name": "vss/saved-state-downtime", "value": round(min(ours)), "unit": "ms", "goal": f"< {GOAL_MS}",
               "ok": min(ours) < GOAL_MS}
        yield {"name": "vss/saved-state-against-virsh", "value": round(min(ours)), "unit": "ms",
               "against": f"virsh save + restore, {min(peers):.0f} ms", "ratio": round(min(ours) / min(peers), 2), "goal": "< 1",
               "ok": min(ours) < min(peers)}
        yield {"name": "vss/saved-state-memory", "value": round(state_bytes / 1024 / 1024), "unit": "MiB"}
    finally:
        stack.stop()
        lab.stop()
