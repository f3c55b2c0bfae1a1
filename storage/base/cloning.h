// Files that share their content on the disk until one of them is written to. Apart from Filesystem, because few can do
// that: XFS and btrfs, not ext4.
#ifndef UMBRA_STORAGE_BASE_CLONING_H_
#define UMBRA_STORAGE_BASE_CLONING_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "storage/base/filesystem.h"

namespace umbra::base {

// Thread-safe. Errors are those of a Filesystem.
class Cloning {
 public:
  virtual ~Cloning() = default;

  // Makes the file `to`, which must not exist, with the content of `from`. No byte is copied, and neither sees what is
  // written to the other. False where the file system can't do that, or the two aren't on one; then, as after an error,
  // nothing is made. Durable as any new file: after the Sync of `to` and of its folder.
  virtual absl::StatusOr<bool> Clone(const std::string& from, const std::string& to) = 0;

  // These bytes of the file, all of them within its size, read as zero from now on and take no space.
  virtual absl::Status MakeHole(const std::string& path, uint64_t offset, uint64_t length) = 0;
};

// What `files` can do of this; null: nothing. The real file system can everywhere, and says what where.
Cloning* CloningOf(Filesystem& files);

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_CLONING_H_
