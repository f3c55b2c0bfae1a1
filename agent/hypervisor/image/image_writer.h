// Writes fresh disk images, without help of another program: what a restore needs, for every driver.
//
// "raw" is the bytes themselves, with holes; so is kStateFileFormat. "qcow2" is QEMU's format (docs/interop/qcow2.txt of QEMU), version 3, with
// its tables laid out in advance at the front: clusters are handed out in the order of first writes, so any number of
// threads write the data in parallel, and one table entry per 64 KiB is all the metadata there is.
#ifndef UMBRA_AGENT_HYPERVISOR_IMAGE_IMAGE_WRITER_H_
#define UMBRA_AGENT_HYPERVISOR_IMAGE_IMAGE_WRITER_H_

#include <memory>

#include "agent/hypervisor/hypervisor.h"
#include "storage/base/filesystem.h"

namespace umbra::hypervisor {

// A raw image that is made with a seed begins as its clone where the file system can do that (XFS, btrfs: FICLONE), else
// empty, whatever the reason. Zeros that are written over a seed become holes, so the image never takes more space of its
// own than what was written.
//
// Creates the image; it is complete and durable after Finish, and removed when the writer ends without it.
// `files` must outlive the writer.
// Errors: INVALID_ARGUMENT / INVALID_REQUEST unknown format, or a capacity that is zero or, of a disk, no multiple of 512;
// ALREADY_EXISTS / TARGET_EXISTS; RESOURCE_EXHAUSTED / TARGET_FULL; others as Filesystem gives them.
absl::StatusOr<std::unique_ptr<BlockWriter>> CreateImage(base::Filesystem& files, const NewDisk& disk);

}  // namespace umbra::hypervisor

#endif  // UMBRA_AGENT_HYPERVISOR_IMAGE_IMAGE_WRITER_H_
