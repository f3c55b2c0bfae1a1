# shellcheck shell=bash
# Builds the guest: Debian's cloud kernel and guest agent (unpacked, never installed) with busybox and the writer in an initramfs,
# on a self-contained disk. Everything lands in CACHE under a name that holds a hash of what it was made from.
#
# The disk: MBR; partition 1 FAT with syslinux, kernel and initramfs; partition 2 ext4 with the data. It is built with tools that
# write into files, so no loop device and no mount is needed.

readonly SECTOR_BYTES=512
readonly BOOT_START_SECTOR=2048
readonly BOOT_SECTORS=131072 # 64 MiB, kernel and initramfs take 13
readonly DATA_START_SECTOR=$((BOOT_START_SECTOR + BOOT_SECTORS))
readonly FILL_RESERVE_MIB=256 # left free for file system metadata and for what the writer adds

# virtio_ring before virtio: modules.dep is not in the package, the order here is the dependency order.
readonly GUEST_MODULES=(
  drivers/virtio/virtio_ring drivers/virtio/virtio drivers/virtio/virtio_pci_modern_dev drivers/virtio/virtio_pci_legacy_dev
  drivers/virtio/virtio_pci drivers/block/virtio_blk drivers/char/virtio_console drivers/acpi/button drivers/input/evdev
  net/core/failover drivers/net/net_failover drivers/net/virtio_net
)

image_command() {
  local disk_gib=2 fill_mib=0
  while (($#)); do
    case $1 in
      --disk-gib) disk_gib=${2-}; shift 2 ;;
      --fill-mib) fill_mib=${2-}; shift 2 ;;
      *) usage_error "image: unknown option '$1'" ;;
    esac
  done
  ensure_disk "$disk_gib" "$fill_mib"
}

with_cache_lock() (
  exec 8>"$CACHE/lock"
  flock -w 900 8 || die "another build holds $CACHE/lock"
  "$@"
)

# ensure_disk DISK_GIB FILL_MIB: prints the path of a base disk (qcow2, never to be written to).
ensure_disk() {
  number_option --disk-gib "$1" 1 64
  number_option --fill-mib "$2" 0 $(($1 * 1024 - FILL_RESERVE_MIB - DATA_START_SECTOR / 2048))
  need gcc cpio gzip busybox sfdisk mkfs.fat mcopy syslinux mkfs.ext4 qemu-img dpkg apt-get sha256sum
  with_cache_lock ensure_disk_locked "$1" "$2"
}

ensure_disk_locked() {
  local boot disk
  boot=$(ensure_boot)
  disk=$CACHE/disk-${boot##*-}-$1g-$2m.qcow2
  if [[ ! -e $disk ]]; then build_disk "$boot" "$1" "$2" "$disk"; fi
  printf '%s\n' "$disk"
}

# in_staging DIR COMMAND...: runs COMMAND with a temporary sibling of DIR as last argument; DIR appears whole or not at all.
in_staging() {
  local target=$1 staging=$1.new
  shift
  rm -rf "$staging"
  mkdir -p "$staging"
  (
    trap '(($? == 0)) || { rm -rf "$staging"; say "error: could not build $target"; }' EXIT
    "$@" "$staging"
  )
  mv -T "$staging" "$target"
}

# Prints the path of the static writer program, which also runs on the host.
ensure_writer() {
  local hash path
  hash=$(sha256sum "$LAB_DIR/guest/writer.c" | cut -c1-12)
  path=$CACHE/writer-$hash
  if [[ ! -x $path ]]; then
    need gcc
    # The linker warns about dlopen in a static program; SQLite never calls it here.
    gcc -std=c11 -O2 -Wall -Wextra -static -Wl,--no-warnings -o "$path.$$" "$LAB_DIR/guest/writer.c" -lsqlite3 -lm ||
      die "could not compile the guest's writer"
    mv "$path.$$" "$path"
  fi
  printf '%s\n' "$path"
}

# Prints the folder with vmlinuz and initrd.gz; its name ends in the hash of everything in it.
ensure_boot() {
  local writer hash
  if [[ ! -d $CACHE/debian ]]; then in_staging "$CACHE/debian" download_guest_packages; fi
  writer=$(ensure_writer)
  hash=$(cat "$LAB_DIR"/guest/* "$LAB_DIR/lib/image.sh" "$CACHE/debian/version" /bin/busybox | sha256sum | cut -c1-12)
  if [[ ! -d $CACHE/boot-$hash ]]; then
    say "building the guest's initramfs"
    in_staging "$CACHE/boot-$hash" build_boot "$writer"
  fi
  printf '%s\n' "$CACHE/boot-$hash"
}

readonly APT_DOWNLOAD=(apt-get -qq -o APT::Sandbox::User=root download)

download_guest_packages() {
  local dir=$1
  say "downloading the guest's kernel and agent"
  download_to "$dir" 2>/dev/null || { apt-get -qq update >&2 && download_to "$dir"; } || return 1
  dpkg -x "$dir"/linux-image-*.deb "$dir/kernel"
  dpkg -x "$dir"/qemu-guest-agent_*.deb "$dir/agent"
  (cd "$dir" && printf '%s\n' ./*.deb >version && rm ./*.deb)
}

download_to() {
  local kernel
  kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ {print $2; exit}')
  [[ -n $kernel ]] && (cd "$1" && rm -f ./*.deb && "${APT_DOWNLOAD[@]}" "$kernel" qemu-guest-agent >&2)
}

build_boot() {
  local writer=$1 out=$2 tree=$2/tree
  mkdir -p "$tree"/{bin,sbin,usr/sbin,lib/modules,lib64,proc,sys,dev,run,data,root,tmp,etc/qemu,etc/acpi/PWRF,var}
  ln -s ../run "$tree/var/run"
  copy_modules "$tree/lib/modules"
  copy_with_libraries "$CACHE/debian/agent/usr/sbin/qemu-ga" "$tree" usr/sbin/qemu-ga
  cp /bin/busybox "$writer" "$tree/bin/"
  mv "$tree/bin/${writer##*/}" "$tree/bin/writer"
  cp "$LAB_DIR/guest/init" "$tree/init"
  cp "$LAB_DIR/guest/inittab" "$tree/etc/"
  cp "$LAB_DIR/guest/fsfreeze-hook" "$tree/etc/qemu/"
  cp "$LAB_DIR/guest/shutdown" "$tree/sbin/"
  cp "$LAB_DIR/guest/shutdown" "$tree/etc/acpi/PWRF/00000080" # the power button, as busybox acpid names it
  cp "$CACHE"/debian/kernel/boot/vmlinuz-* "$out/vmlinuz"
  (cd "$tree" && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0 | gzip -1n) >"$out/initrd.gz"
  rm -rf "$tree"
}

# Numbered, because the guest loads them in this order.
copy_modules() {
  local module number=10
  for module in "${GUEST_MODULES[@]}"; do
    cp "$CACHE"/debian/kernel/lib/modules/*/kernel/"$module.ko" "$1/$((number++))-${module##*/}.ko"
  done
}

# copy_with_libraries PROGRAM TREE PATH: PROGRAM to TREE/PATH, and the host's libraries it needs to where it looks for them.
copy_with_libraries() {
  local libraries library
  cp "$1" "$2/$3"
  libraries=$(ldd "$1")
  [[ $libraries != *'not found'* ]] || { say "libraries of ${1##*/} are missing: $libraries"; return 1; }
  while read -r library; do
    mkdir -p "$2${library%/*}"
    cp -L "$library" "$2$library"
  done < <(grep -oE '/[^ ]+' <<<"$libraries")
}

# build_disk BOOT DISK_GIB FILL_MIB OUT
build_disk() (
  say "building the guest's disk: $2 GiB, $3 MiB filled"
  temp=$(mktemp -d "$CACHE/disk.XXXXXX")
  trap 'status=$?; rm -rf "$temp"; ((status == 0)) || say "error: could not build the guest'"'"'s disk"' EXIT
  write_partition_table "$temp/raw" "$2"
  write_boot_partition "$temp/raw" "$1"
  write_data_partition "$temp/raw" "$2" "$3"
  qemu-img convert -q -f raw -O qcow2 "$temp/raw" "$temp/qcow2"
  mv "$temp/qcow2" "$4"
)

write_partition_table() {
  local raw=$1 gib=$2
  truncate -s "${gib}G" "$raw"
  printf 'label: dos\nstart=%s, size=%s, type=e, bootable\nstart=%s, type=83\n' \
    $BOOT_START_SECTOR $BOOT_SECTORS $DATA_START_SECTOR | sfdisk -q "$raw"
  dd if=/usr/lib/syslinux/mbr/mbr.bin of="$raw" conv=notrunc bs=440 count=1 status=none
}

write_boot_partition() {
  local raw=$1 boot=$2 fat=$1.fat
  cat >"$fat.cfg" <<-'CONF'
	SERIAL 0 115200
	DEFAULT lab
	PROMPT 0
	TIMEOUT 1
	LABEL lab
	  KERNEL vmlinuz
	  INITRD initrd.gz
	  APPEND console=ttyS0 quiet panic=5
	CONF
  truncate -s $((BOOT_SECTORS * SECTOR_BYTES)) "$fat"
  mkfs.fat -F 16 -h $BOOT_START_SECTOR "$fat" >/dev/null
  mcopy -i "$fat" "$boot/vmlinuz" "$boot/initrd.gz" ::
  mcopy -i "$fat" "$fat.cfg" ::syslinux.cfg
  syslinux --install "$fat"
  dd if="$fat" of="$raw" conv=notrunc,sparse bs=1M seek=$((BOOT_START_SECTOR * SECTOR_BYTES))B status=none
}

# The inode tables are written now: a guest that does it in the background would dirty blocks nobody asked for.
write_data_partition() {
  local raw=$1 gib=$2 fill_mib=$3 tree=$1.data size_kib
  size_kib=$((gib * 1024 * 1024 - DATA_START_SECTOR / 2))
  mkdir -p "$tree/w" "$tree/fill"
  fill_data "$tree/fill" "$fill_mib"
  mkfs.ext4 -q -F -L data -d "$tree" \
    -E offset=$((DATA_START_SECTOR * SECTOR_BYTES)),lazy_itable_init=0,lazy_journal_init=0,nodiscard "$raw" "${size_kib}k"
  rm -rf "$tree"
}

# fill_data DIR MIB: three quarters real files (programs, libraries, texts of this machine: they compress and repeat as files
# do), one quarter random bytes (as encrypted or packed data is), which also fill up where the machine has too few files.
fill_data() {
  local dir=$1 mib=$2 want taken
  ((mib)) || return 0
  want=$((mib * 1048576 * 3 / 4))
  find /usr/bin /usr/lib /usr/share -xdev -type f -size +16k -size -16M -printf '%s %p\n' | LC_ALL=C sort -k2 |
    awk -v want="$want" 'sum + $1 <= want { sum += $1; sub(/^[0-9]+ /, ""); print }' |
    xargs -d '\n' cp --parents -t "$dir"
  taken=$(du -s --apparent-size -B1 "$dir" | cut -f1)
  head -c $((mib * 1048576 - (taken < mib * 1048576 ? taken : mib * 1048576))) /dev/urandom >"$dir/random"
}
