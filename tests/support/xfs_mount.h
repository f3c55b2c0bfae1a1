// A small XFS, on which files can share their content, mounted for this process alone: it goes with it, however it
// ends.
#ifndef UMBRA_TESTS_SUPPORT_XFS_MOUNT_H_
#define UMBRA_TESTS_SUPPORT_XFS_MOUNT_H_

#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "tests/support/temp_dir.h"

namespace umbra::testing {

// An empty folder on it. All of a process share the mount, which the first one makes; call on the main thread.
class XfsMount {
 public:
  XfsMount() {
    if (!missing().empty()) return;
    folder_ = Mounted().folder.File("mnt/XXXXXX");
    if (mkdtemp(folder_.data()) == nullptr) folder_.clear();
  }
  ~XfsMount() {
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  }
  XfsMount(const XfsMount&) = delete;
  XfsMount& operator=(const XfsMount&) = delete;

  // What is missing for it; empty: nothing.
  const std::string& missing() const { return Mounted().missing; }
  const std::string& folder() const { return folder_; }

 private:
  struct Mount {
    TempDir folder;
    std::string missing = Make(folder);

    ~Mount() {
      if (missing.empty()) umount2(folder.File("mnt").c_str(), MNT_DETACH);
    }

    static std::string Make(const TempDir& folder) {
      if (geteuid() != 0) return "mounting XFS needs root";
      if (system("command -v mkfs.xfs >/dev/null") != 0) return "mkfs.xfs isn't installed";
      if (unshare(CLONE_NEWNS) != 0) return "no mounts of its own for the process";
      const std::string image = folder.File("image"), at = folder.File("mnt");
      const std::string made = "mount --make-rprivate / && truncate -s 320M " + image +
                               " && mkfs.xfs -q -m reflink=1 " + image + " && mkdir " + at + " && mount -o loop " +
                               image + " " + at;
      return system(("(" + made + ") >/dev/null 2>&1").c_str()) == 0 ? "" : "XFS can't be mounted here";
    }
  };

  static const Mount& Mounted() {
    static const Mount mount;
    return mount;
  }

  std::string folder_;
};

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_XFS_MOUNT_H_
