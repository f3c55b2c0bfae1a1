// A folder of small named texts that outlive the process: what write-ahead lists are made of. Each entry is one file,
// durable before its Record returns and gone when its Remove has.
//
// While this process works on an entry it is live; what is found at the start belongs to a predecessor that died.
//
// Threads: thread-safe; calls on one name come one after another. Errors: those of Filesystem.
#ifndef UMBRA_STORAGE_BASE_DURABLE_ENTRIES_H_
#define UMBRA_STORAGE_BASE_DURABLE_ENTRIES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/filesystem.h"

namespace umbra::base {

class DurableEntries {
 public:
  struct Entry {
    std::string name;
    std::string text;
  };
  struct Listing {
    std::vector<Entry> entries;           // ordered by name
    std::vector<std::string> unreadable;  // paths of files that can't be read, or are larger than an entry
  };

  // `suffix` is what the names of its files end with, such as ".intent"; other files of `folder` are nobody's here. A
  // text has at most `text_bytes_max` bytes.
  DurableEntries(Filesystem& filesystem, std::string folder, std::string suffix, uint64_t text_bytes_max);

  // Makes the folder, and removes what writes left there that were never finished: they have begun nothing. Call it
  // once, before the others.
  absl::Status Open();

  // Durable on OK, and live; not live after an error. Replaces the entry of the same name, all or nothing.
  // INVALID_ARGUMENT / INVALID_REQUEST: the name is empty or no file name.
  absl::Status Record(const std::string& name, std::string_view text);
  // Durable on OK. OK when it isn't there. No longer live, also on an error.
  absl::Status Remove(const std::string& name);
  // Leaves the file to whoever comes later. No longer live.
  void Abandon(const std::string& name);
  bool IsLive(const std::string& name) const;

  absl::StatusOr<Listing> List();
  std::string PathOf(const std::string& name) const;

  Filesystem& filesystem() { return filesystem_; }

 private:
  Filesystem& filesystem_;
  const std::string folder_;
  const std::string suffix_;
  const uint64_t text_bytes_max_;
  mutable absl::Mutex mu_;
  absl::flat_hash_set<std::string> live_ ABSL_GUARDED_BY(mu_);
};

// Takes "`prefix`value\n" off the front of `text`; nothing when it begins otherwise. For texts of lines.
std::optional<std::string> TakeLine(std::string_view prefix, std::string_view* text);

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_DURABLE_ENTRIES_H_
