# shellcheck shell=bash
# What a disk holds, proven from outside without booting it: the state of its ext4, and the writer's promises.

# verify_disk IMAGE. Prints {"needs_recovery":..,"e2fsck":"clean|replayed|errors",...what `writer verify` says...}.
# Works on a copy; the image is only read. "replayed": the journal had to be replayed, as after a crash, and then all was well.
verify_disk() {
  local image=${1-} temp status=0
  [[ $# == 1 && -n $image ]] || usage_error "verify-disk IMAGE"
  [[ -r $image ]] || die "cannot read '$image'"
  need qemu-img sfdisk dumpe2fs e2fsck debugfs python3
  temp=$(mktemp -d "$ROOT/tmp/verify.XXXXXX")
  (verify_in "$image" "$temp") || status=$?
  rm -rf "$temp"
  return "$status"
}

verify_in() {
  local image=$1 temp=$2 writer offset_bytes needs_recovery check
  writer=$(ensure_writer)
  qemu-img convert -q -O raw "$image" "$temp/raw" || die "cannot read '$image' (is its virtual machine running?)"
  offset_bytes=$(data_offset_bytes "$temp/raw")
  needs_recovery=$(reads_needs_recovery "$temp/raw?offset=$offset_bytes")
  check=$(check_filesystem "$temp/raw?offset=$offset_bytes" "$needs_recovery")
  debugfs -R "rdump /w $temp" "$temp/raw?offset=$offset_bytes" >/dev/null 2>"$temp/debugfs.log" || true
  [[ -d $temp/w ]] || die "the disk has no /w folder: $(tail -n 1 "$temp/debugfs.log")"
  rm -f "$temp/w/rows.db-shm" # shared memory of the guest's processes, made anew from the WAL
  print_findings "$("$writer" "$temp/w" verify || true)" "$needs_recovery" "$check"
}

# Prints where partition 2 starts.
data_offset_bytes() {
  sfdisk -J "$1" 2>/dev/null |
    python3 -c 'import json,sys; t=json.load(sys.stdin)["partitiontable"]; print(t["partitions"][1]["start"]*t.get("sectorsize",512))' 2>/dev/null ||
    die "the disk has no partition table with a second partition"
}

reads_needs_recovery() {
  local features
  features=$(dumpe2fs -h "$1" 2>/dev/null | grep '^Filesystem features:') || die "the second partition holds no ext4"
  if [[ $features == *needs_recovery* ]]; then echo true; else echo false; fi
}

# With a journal to replay, `e2fsck -n` would report errors that the replay mends, so then it may write (into the copy).
check_filesystem() {
  local status=0
  if [[ $2 == true ]]; then
    e2fsck -fp "$1" >/dev/null 2>&1 || status=$?
    if ((status <= 1)); then echo replayed; else echo errors; fi
  else
    e2fsck -fn "$1" >/dev/null 2>&1 || status=$?
    if ((status == 0)); then echo clean; else echo errors; fi
  fi
}

# Status 0 when every promise was kept.
print_findings() {
  [[ -n $1 ]] || die "the writer's data cannot be read at all"
  python3 - "$@" <<-'PYTHON'
	import json, sys
	data, needs_recovery, check = json.loads(sys.argv[1]), sys.argv[2] == "true", sys.argv[3]
	print(json.dumps({"needs_recovery": needs_recovery, "e2fsck": check, **data}, separators=(",", ":")))
	sys.exit(0 if check != "errors" and data["integrity"] == "ok" and data["bad"] == 0 else 1)
	PYTHON
}
