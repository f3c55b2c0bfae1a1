# shellcheck shell=bash
# Virtual machines of the lab: each has a full copy of the base disk in ROOT/vms/NAME, so it can be backed up, damaged and removed
# on its own.

readonly AGENT_TIMEOUT_S=120 # under software emulation on a busy machine; 4-8 s when idle
readonly EXTRA_DISK_DATA_MIB=16
readonly TARGET_LETTERS=abcdefghijklmnopqrstuvwxyz
readonly EXTRA_DISKS_MAX=20 # virtio disks are PCI devices, and the machine has one bus of 32

vm_command() {
  local verb=${1-}
  (($#)) && shift
  case $verb in
    create) vm_create "$@" ;;
    wait-agent) vm_wait_agent "$@" ;;
    exec) vm_exec "$@" ;;
    xml) vm_name "${1-}"; lab_virsh dumpxml --inactive --security-info "$1" ;;
    destroy) vm_name "${1-}"; vm_destroy "$1" ;;
    *) usage_error "vm: unknown command '$verb'" ;;
  esac
}

vm_name() { [[ $1 =~ ^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$ ]] || usage_error "'$1' is no possible name of a virtual machine"; }

# Prints kvm or qemu. A /dev/kvm that opens proves nothing: without vmx or svm a stock kernel dies under it.
domain_type() {
  case ${UMBRA_LAB_ACCEL:-auto} in
    tcg) echo qemu ;;
    kvm) echo kvm ;;
    auto)
      if grep -qwE 'vmx|svm' /proc/cpuinfo && lab_virsh domcapabilities --virttype kvm >/dev/null 2>&1; then echo kvm; else echo qemu; fi
      ;;
    *) usage_error "UMBRA_LAB_ACCEL must be tcg or kvm" ;;
  esac
}

nic_xml() {
  case $1 in
    none) ;;
    bridge:?*) printf "<interface type='bridge'><source bridge='%s'/><model type='virtio'/></interface>" "${1#*:}" ;;
    network:?*) printf "<interface type='network'><source network='%s'/><model type='virtio'/></interface>" "${1#*:}" ;;
    *) usage_error "--nic must be bridge:NAME, network:NAME or none, not '$1'" ;;
  esac
}

# disk_xml FILE FORMAT TARGET. What the guest discards is given back.
disk_xml() {
  printf "<disk type='file' device='disk'><driver name='qemu' type='%s' discard='unmap'/><source file='%s'/><target dev='%s' bus='virtio'/></disk>" \
    "$2" "$1" "$3"
}

# make_extra_disk SPEC DIR TARGET: creates DIR/TARGET.FORMAT, whose start is random and whose rest is empty; prints its XML.
make_extra_disk() {
  local size=${1%%:*} format=qcow2 file data_mib
  if [[ $1 == *:* ]]; then format=${1#*:}; fi
  [[ $format == raw || $format == qcow2 ]] || usage_error "--extra-disk: the format must be raw or qcow2, not '$format'"
  number_option --extra-disk "$size" 1 65536
  file=$2/$3.$format
  data_mib=$((size < EXTRA_DISK_DATA_MIB ? size : EXTRA_DISK_DATA_MIB))
  head -c ${data_mib}M /dev/urandom >"$2/$3.new"
  truncate -s "${size}M" "$2/$3.new"
  qemu-img convert -q -f raw -O "$format" "$2/$3.new" "$file"
  rm "$2/$3.new"
  disk_xml "$file" "$format" "$3"
}

vm_create() {
  local name=${1-} disk_gib=2 fill_mib=0 memory_mib=192 interval_ms=50 nic=bridge:fbr0 agent=1 start=1 extra=()
  vm_name "$name"
  shift
  while (($#)); do
    case $1 in
      --no-agent) agent=0; shift; continue ;;
      --no-start) start=0; shift; continue ;;
    esac
    (($# >= 2)) || usage_error "vm create: $1 needs a value, or is unknown"
    case $1 in
      --disk-gib) disk_gib=$2 ;;
      --fill-mib) fill_mib=$2 ;;
      --memory-mib) memory_mib=$2 ;;
      --writer-interval-ms) interval_ms=$2 ;;
      --extra-disk) extra+=("$2") ;;
      --nic) nic=$2 ;;
      *) usage_error "vm create: unknown option '$1'" ;;
    esac
    shift 2
  done
  number_option --memory-mib "$memory_mib" 128 65536
  number_option --writer-interval-ms "$interval_ms" 0 3600000
  ((${#extra[@]} <= EXTRA_DISKS_MAX)) || usage_error "at most $EXTRA_DISKS_MAX extra disks"
  daemon_answers || die "the lab is not running (lab --root $ROOT start)"
  ! lab_virsh domuuid "$name" >/dev/null 2>&1 || die "there is a virtual machine '$name' already"
  vm_make "$name"
}

# Works on the variables of vm_create. Leaves nothing behind when it fails.
vm_make() (
  name=$1 dir=$ROOT/vms/$1
  base=$(ensure_disk "$disk_gib" "$fill_mib")
  trap '(($? == 0)) || { vm_destroy "$name"; say "error: could not create '"'$name'"'"; }' EXIT
  rm -rf "$dir"
  mkdir -p "$dir"
  cp --reflink=auto --sparse=always "$base" "$dir/vda.qcow2"
  disks=$(disk_xml "$dir/vda.qcow2" qcow2 vda)
  number=1
  for spec in "${extra[@]}"; do
    disks+=$(make_extra_disk "$spec" "$dir" "vd${TARGET_LETTERS:number:1}")
    number=$((number + 1))
  done
  nic_part=$(nic_xml "$nic")
  type=$(domain_type)
  domain_xml "$name" "$type" "$disks" "$nic_part" >"$dir/define.xml"
  lab_virsh define "$dir/define.xml" >/dev/null
  if ((start)); then lab_virsh start "$name" >/dev/null; fi
)

# domain_xml NAME TYPE DISKS NIC.
# The console's log is not beside the disks: a restored machine must start although that folder is gone.
domain_xml() {
  local channel=
  if ((agent)); then channel="<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"; fi
  cat <<-XML
	<domain type='$2'>
	  <name>$1</name>
	  <uuid>$(cat /proc/sys/kernel/random/uuid)</uuid>
	  <memory unit='MiB'>$memory_mib</memory>
	  <vcpu>1</vcpu>
	  <sysinfo type='smbios'><system><entry name='serial'>interval_ms=$interval_ms</entry></system></sysinfo>
	  <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/><smbios mode='sysinfo'/></os>
	  <features><acpi/></features>
	  <on_poweroff>destroy</on_poweroff>
	  <on_reboot>restart</on_reboot>
	  <on_crash>destroy</on_crash>
	  <devices>
	    <emulator>$(command -v qemu-system-x86_64)</emulator>
	    $3
	    $4
	    <serial type='file'><source path='$ROOT/log/$1.console' append='on'/></serial>
	    $channel
	  </devices>
	</domain>
	XML
}

vm_wait_agent() {
  local name=${1-} timeout_s=${2:-$AGENT_TIMEOUT_S} deadline
  vm_name "$name"
  number_option TIMEOUT_S "$timeout_s" 1 3600
  deadline=$((SECONDS + timeout_s))
  until lab_virsh qemu-agent-command "$name" '{"execute":"guest-ping"}' --timeout 5 >/dev/null 2>&1; do
    case $(lab_virsh domstate "$name" 2>&1) in
      running | paused | idle) ;;
      *) die "'$name' is not running" ;;
    esac
    ((SECONDS < deadline)) || die "the guest agent of '$name' did not answer within $timeout_s s; console: $ROOT/log/$name.console"
    sleep 0.1
  done
}

vm_exec() {
  local name=${1-}
  vm_name "$name"
  [[ ${2-} == -- && $# -ge 3 ]] || usage_error "vm exec NAME -- CMD ARG..."
  need python3
  shift 2
  exec python3 "$LAB_DIR/lib/guest_exec.py" "$URI" "$name" "$@"
}

vm_destroy() {
  local name=$1
  if lab_virsh domuuid "$name" >/dev/null 2>&1; then
    if [[ $(lab_virsh domstate "$name") != 'shut off' ]]; then lab_virsh destroy "$name" >/dev/null; fi
    # A machine that was never defined is gone now.
    if lab_virsh domuuid "$name" >/dev/null 2>&1; then
      lab_virsh undefine "$name" --managed-save --checkpoints-metadata --snapshots-metadata --nvram >/dev/null
    fi
  fi
  rm -rf "$ROOT/vms/$name" "$ROOT/log/$name.console"
}

# A network that only names the lab's bridge: a "virtual switch" that needs neither iptables nor dnsmasq.
network_command() {
  local verb=${1-} name=${2-} bridge=${3:-fbr0}
  vm_name "$name"
  vm_name "$bridge"
  case $verb in
    create)
      lab_virsh net-define /dev/stdin >/dev/null <<<"<network><name>$name</name><forward mode='bridge'/><bridge name='$bridge'/></network>"
      lab_virsh net-start "$name" >/dev/null
      ;;
    destroy)
      lab_virsh net-destroy "$name" >/dev/null 2>&1 || true
      lab_virsh net-undefine "$name" >/dev/null
      ;;
    *) usage_error "network: unknown command '$verb'" ;;
  esac
}
