"""Starts a walk of web/e2e through the dashboard, and does for it what a browser can't."""
import json
import pathlib
import subprocess

REPO = pathlib.Path(__file__).resolve().parents[2]


def first_password(stack):
    """What the first user signs in with: the last word of the file."""
    return (stack.daemon_data / "first-credential").read_text().split()[-1]


def walk(script, stack, shots, answer):
    """Runs the browser; yields (step, seconds, failure or None). What it wishes is given to `answer`, whose text is told to it."""
    command = ["node", str(REPO / "web/e2e" / script), f"https://{stack.addresses()['http_address']}", first_password(stack), str(shots)]
    browser = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPO / "web")
    try:
        for line in browser.stdout:
            said = json.loads(line)
            if "ask" in said:
                browser.stdin.write(f"{answer(said['ask'])}\n")
                browser.stdin.flush()
            else:
                yield said["step"], said["seconds"], said.get("failure")
        if browser.wait() != 0:
            yield "browser", 0.0, f"the browser's program ended with {browser.returncode}"
    finally:
        if browser.poll() is None:
            browser.kill()
            browser.wait()
