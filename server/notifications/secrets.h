// Passwords, keys of signatures and certificates of channels: files in one folder, which only the daemon's user can
// read. The API, the catalog, events and logs have their names, never what is in them; a name is no path, so that no
// caller of the API can make the daemon send another file of the machine.
#ifndef UMBRA_SERVER_NOTIFICATIONS_SECRETS_H_
#define UMBRA_SERVER_NOTIFICATIONS_SECRETS_H_

#include <string>

#include "absl/status/statusor.h"
#include "storage/base/filesystem.h"

namespace umbra::notifications {

// A key of signatures is at least this long, in bytes.
inline constexpr size_t kSignatureKeyMin = 16;

// Thread-safe. The file system outlives it.
class Secrets {
 public:
  Secrets(base::Filesystem& filesystem, std::string folder) : filesystem_(filesystem), folder_(std::move(folder)) {}

  // The line in the file, without the end of the line. Read anew each time, so that a changed one counts at once.
  // FAILED_PRECONDITION / NOTIFICATION_SECRET_MISSING  no such file, not readable, empty, or more than a line;
  // the message says where it should be.
  absl::StatusOr<std::string> Read(const std::string& name) const;
  // Certificates in PEM; the same error.
  absl::StatusOr<std::string> ReadCertificates(const std::string& name) const;

  // 1 to 100 of letters, digits, ".", "_" and "-", not "." first.
  static bool IsName(const std::string& name);

 private:
  absl::StatusOr<std::string> ReadFile(const std::string& name, uint64_t size_max) const;

  base::Filesystem& filesystem_;
  const std::string folder_;
};

}  // namespace umbra::notifications

#endif  // UMBRA_SERVER_NOTIFICATIONS_SECRETS_H_
