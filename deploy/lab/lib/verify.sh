# shellcheck shell=bash
# What a disk holds, proven from outside without booting it: the state of its ext4, and the writer's promises.

# verify_disk IMAGE. Prints {"needs_recovery":..,"e2fsck":"clean|replayed|errors",...what `writer verify` says...}.
# Works on a copy; the image is only read. "replayed": the journal had to be replayed, as after a crash, and then all was well.
verify_disk() {
  local image=${1-} temp
  [[ $# == 1 && -n $image ]] || usage_error "verify-disk IMAGE"
  [[ -r $image ]] || die "cannot read '$image'"
  need qemu-img dumpe2fs e2fsck debugfs python3
  temp=$(mktemp -d "$ROOT/tmp/verify.XXXXXX")
  (
    trap 'rm -rf "$temp"' EXIT
    verify_in "$image" "$temp"
  )
}

verify_in() {
  local image=$1 temp=$2 writer needs_recovery check hook
  writer=$(ensure_writer)
  copy_data_partition "$image" "$temp/part" "$temp"
  needs_recovery=$(reads_needs_recovery "$temp/part")
  check=$(check_filesystem "$temp/part" "$needs_recovery")
  debugfs -R "rdump /w $temp" "$temp/part" >/dev/null 2>"$temp/debugfs.log" || true
  [[ -d $temp/w ]] || die "the disk has no /w folder: $(tail -n 1 "$temp/debugfs.log")"
  rm -f "$temp/w/rows.db-shm" # shared memory of the guest's processes, made anew from the WAL
  hook=$(debugfs -R 'cat /hook.log' "$temp/part" 2>/dev/null | tail -n 1)
  print_findings "$("$writer" "$temp/w" verify || true)" "$needs_recovery" "$check" "$hook"
}

# copy_data_partition IMAGE OUT TEMP: partition 2 alone, because e2fsck loses an offset when it reopens after a journal replay.
copy_data_partition() {
  local image=$1 out=$2 mbr=$3/mbr format start
  format=$(qemu-img info --output=json "$image" | python3 -c 'import json,sys; print(json.load(sys.stdin)["format"])') ||
    die "cannot read '$image' (is its virtual machine running?)"
  qemu-img dd -f "$format" -O raw if="$image" of="$mbr" bs=512 count=1 >/dev/null || die "cannot read '$image'"
  # MBR: signature at 510, the second entry at 462, its first sector 8 bytes further.
  start=$(od -An -tu4 -j470 -N4 "$mbr" | tr -d ' ')
  [[ $(od -An -tx1 -j510 -N2 "$mbr") == ' 55 aa' && $start -gt 0 ]] || die "the disk has no MBR with a second partition"
  qemu-img convert -q -O raw --image-opts \
    "driver=raw,offset=$((start * SECTOR_BYTES)),file.driver=$format,file.file.driver=file,file.file.filename=${image//,/,,}" "$out" ||
    die "cannot read the second partition of '$image'"
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
	found = {"needs_recovery": needs_recovery, "e2fsck": check, "hook": sys.argv[4], **data}
	print(json.dumps(found, separators=(",", ":")))
	sys.exit(0 if check != "errors" and data["integrity"] == "ok" and data["bad"] == 0 else 1)
	PYTHON
}
