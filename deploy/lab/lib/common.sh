# shellcheck shell=bash
# Paths and messages shared by the lab's parts. Sourced by `lab`; talk goes to stderr, results to stdout.

# A unix socket's path has 108 bytes with its closing zero (unix(7)); the longest one below the root is this.
readonly LONGEST_SOCKET=/sock/libvirt-admin-sock
readonly SOCKET_PATH_MAX=107

say() { printf 'lab: %s\n' "$*" >&2; }
die() { printf 'lab: error: %s\n' "$*" >&2; exit 1; }
usage_error() { printf 'lab: %s (see lab --help)\n' "$*" >&2; exit 2; }

# Sets ROOT, CACHE and URI, and makes the two folders.
set_paths() {
  local root=$1 cache=$2 longest
  [[ -n $root ]] || usage_error "--root DIR is needed"
  root=$(realpath -ms "$root")
  [[ $root != / && $root =~ ^[A-Za-z0-9._/@+-]+$ ]] || usage_error "--root '$root': only letters, digits and ._/@+- are possible"
  longest=$root$LONGEST_SOCKET
  ((${#longest} <= SOCKET_PATH_MAX)) ||
    die "--root is too long for unix sockets: $root has ${#root} bytes, at most $((SOCKET_PATH_MAX - ${#LONGEST_SOCKET})) are possible"
  ROOT=$root
  CACHE=$(realpath -ms "${cache:-$root/images}")
  URI="qemu:///system?socket=$ROOT/sock/libvirt-sock"
  readonly ROOT CACHE URI
  mkdir -p "$ROOT"/{etc,lib,cache,run,log,sock,vms,tmp} "$CACHE"
}

need() {
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null || die "$program is not installed; run deploy/install-deps --lab"
  done
}

lab_virsh() { virsh -q -c "$URI" "$@"; }

is_number() { [[ $1 =~ ^(0|[1-9][0-9]{0,8})$ ]]; }

# number_option NAME VALUE MIN MAX
number_option() {
  if is_number "$2" && (($2 >= $3 && $2 <= $4)); then return 0; fi
  usage_error "$1 must be a number from $3 to $4, not '$2'"
}
