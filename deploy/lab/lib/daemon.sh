# shellcheck shell=bash
# The lab's libvirtd: started by hand in its own mount and network namespace, so that the machine's libvirt, bridges and
# networks are neither seen nor changed. On the machine itself only empty mount points (/etc/libvirt, ...) may appear.

readonly START_TIMEOUT_S=60 # the first start probes QEMU's abilities, 4-8 s on an idle machine
readonly STOP_TIMEOUT_S=20
readonly MARK=umbra-lab # a file in the private /etc/libvirt: who sees it there, belongs to the lab

write_daemon_config() {
  cp /etc/passwd "$ROOT/passwd"
  cp /etc/group "$ROOT/group"
  # libvirtd looks this user up before it reads its configuration.
  grep -q ^libvirt-qemu: "$ROOT/passwd" || echo 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin' >>"$ROOT/passwd"
  grep -q ^libvirt-qemu: "$ROOT/group" || echo 'libvirt-qemu:x:64055:' >>"$ROOT/group"
  [[ -e $ROOT/etc/$MARK ]] || : >"$ROOT/etc/$MARK"
  cat >"$ROOT/etc/qemu.conf" <<-'CONF'
	user = "root"
	group = "root"
	security_driver = "none"
	stdio_handler = "file"
	namespaces = []
	cgroup_controllers = []
	remember_owner = 0
	CONF
  cat >"$ROOT/etc/libvirtd.conf" <<-CONF
	unix_sock_dir = "$ROOT/sock"
	unix_sock_rw_perms = "0700"
	auth_unix_rw = "none"
	auth_unix_ro = "none"
	log_outputs = "3:file:$ROOT/log/libvirtd.log"
	CONF
}

# Runs inside the new namespaces, with the root as $1.
# Mounts made on the machine later are still seen (slave), since tests put small file systems under a scratch or repository folder.
# shellcheck disable=SC2016  # expanded by the inner shell
readonly NAMESPACE_SCRIPT='
  set -e
  for pair in etc:/etc/libvirt lib:/var/lib/libvirt cache:/var/cache/libvirt run:/run/libvirt log:/var/log/libvirt passwd:/etc/passwd group:/etc/group; do
    mount --bind "$1/${pair%%:*}" "${pair#*:}"
  done
  ip link set lo up
  ip link add fbr0 type bridge
  ip link set fbr0 up
  exec libvirtd -f /etc/libvirt/libvirtd.conf -p "$1/sock/libvirtd.pid"
'

# Process ids of everything that runs in the lab's mount namespace: libvirtd, its QEMUs and their helpers, and nothing else.
lab_pids() {
  local dir
  for dir in /proc/[0-9]*; do
    if [[ $dir/root/etc/libvirt/$MARK -ef $ROOT/etc/$MARK ]]; then printf '%s\n' "${dir#/proc/}"; fi
  done
}

# Prints the id of the lab's libvirtd; fails when it does not run.
daemon_pid() {
  local pid
  pid=$(cat "$ROOT/sock/libvirtd.pid" 2>/dev/null) && [[ -n $pid ]] || return 1
  [[ /proc/$pid/root/etc/libvirt/$MARK -ef $ROOT/etc/$MARK && $(readlink "/proc/$pid/exe") == */libvirtd ]] || return 1
  printf '%s\n' "$pid"
}

daemon_answers() { [[ -S $ROOT/sock/libvirt-sock ]] && timeout 20 virsh -q -c "$URI" uri >/dev/null 2>&1; }

daemon_start() {
  need libvirtd virsh unshare setsid ip qemu-system-x86_64
  exec 9>"$ROOT/start.lock"
  flock -w "$START_TIMEOUT_S" 9 || die "another start of this lab does not end ($ROOT/start.lock)"
  if ! daemon_pid >/dev/null; then launch_daemon; fi
  wait_daemon
  exec 9>&-
  printf '%s\n' "$URI"
}

# Closes what the caller had open. The daemon outlives the caller, and must not keep its locks and pipes.
close_inherited() {
  local fd
  for fd in /proc/"$BASHPID"/fd/*; do
    fd=${fd##*/}
    if ((fd > 2)); then eval "exec $fd>&-"; fi
  done
}

launch_daemon() {
  write_daemon_config
  rm -f "$ROOT"/sock/libvirt*-sock* "$ROOT/sock/libvirtd.pid"
  mkdir -p /etc/libvirt /var/lib/libvirt /var/cache/libvirt /run/libvirt /var/log/libvirt
  if [[ -d $CACHE/capabilities && ! -d $ROOT/cache/qemu ]]; then cp -a "$CACHE/capabilities" "$ROOT/cache/qemu"; fi
  (
    close_inherited
    exec setsid unshare -m -n --propagation slave bash -c "$NAMESPACE_SCRIPT" lab "$ROOT"
  ) >"$ROOT/log/start.log" 2>&1 </dev/null &
  LAUNCHED_PID=$!
}

wait_daemon() {
  local deadline=$((SECONDS + START_TIMEOUT_S))
  until daemon_answers; do
    if [[ -n ${LAUNCHED_PID-} && ! -d /proc/$LAUNCHED_PID ]] || ((SECONDS >= deadline)); then
      tail -n 5 "$ROOT/log/start.log" "$ROOT/log/libvirtd.log" >&2 2>/dev/null || true
      die "libvirtd did not start; logs are in $ROOT/log"
    fi
    sleep 0.05
  done
}

# Probing QEMU costs seconds; the next lab takes the answer from the cache. libvirt itself drops an answer that got stale.
keep_capabilities() {
  [[ -d $ROOT/cache/qemu/capabilities && ! -d $CACHE/capabilities ]] || return 0
  local staging
  staging=$(mktemp -d "$CACHE/capabilities.XXXXXX")
  cp -a "$ROOT/cache/qemu/." "$staging/"
  mv -T "$staging" "$CACHE/capabilities" 2>/dev/null || rm -rf "$staging"
}

daemon_stop() {
  local names name pids
  if daemon_pid >/dev/null && daemon_answers; then
    names=$(lab_virsh list --name) || names=
    while read -r name; do
      [[ -z $name ]] || lab_virsh destroy "$name" >/dev/null 2>&1 || say "could not destroy '$name', its process will be ended"
    done <<<"$names"
    keep_capabilities
  fi
  mapfile -t pids < <(lab_pids)
  end_processes "${pids[@]}"
}

# SIGTERM, and for what is left after a while SIGKILL. QEMU outlives libvirtd, so both are in the list.
end_processes() {
  (($#)) || return 0
  local deadline=$((SECONDS + STOP_TIMEOUT_S)) left
  kill "$@" 2>/dev/null || true
  while mapfile -t left < <(lab_pids) && ((${#left[@]})); do
    if ((SECONDS >= deadline)); then
      say "killing what does not stop: ${left[*]}"
      kill -KILL "${left[@]}" 2>/dev/null || true
      deadline=$((SECONDS + STOP_TIMEOUT_S))
    fi
    sleep 0.05
  done
}

daemon_enter() {
  local pid
  (($#)) || usage_error "enter needs a command"
  pid=$(daemon_pid) || die "the lab is not running (lab --root $ROOT start)"
  exec nsenter -t "$pid" -m -n -- "$@"
}
