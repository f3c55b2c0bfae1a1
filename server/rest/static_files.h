// The files of the dashboard: read once, served from memory.
#ifndef UMBRA_SERVER_REST_STATIC_FILES_H_
#define UMBRA_SERVER_REST_STATIC_FILES_H_

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/rest/http.h"
#include "storage/base/filesystem.h"

namespace umbra::rest {

// Immutable.
class StaticFiles {
 public:
  // None.
  StaticFiles() = default;
  // Everything in `folder` and the folders in it, but no links. "x.gz" beside "x" is x, compressed. At most 64 MiB, and
  // there is an index.html. FAILED_PRECONDITION / CONFIG_INVALID, and those of base::Filesystem.
  static absl::StatusOr<StaticFiles> Read(base::Filesystem& filesystem, const std::string& folder);

  bool empty() const { return files_.empty(); }

  // The answer to GET `path` (decoded, begins with '/'). A path that is no file and looks like none (no '.' in its last
  // part) is index.html, whose script knows what to show; others are 404 with an empty body. Files below "/assets/"
  // have the hash of what is in them in their name: they may be kept forever; others are asked for again.
  Response Get(std::string_view path, bool gzip, const std::string* if_none_match) const;

 private:
  struct File {
    std::shared_ptr<const std::string> bytes;   // shared with the answers that are on their way
    std::shared_ptr<const std::string> packed;  // null: there is none
    std::string tag;
  };
  std::map<std::string, File, std::less<>> files_;  // by path, such as "/assets/app-4f2a.js"
};

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_STATIC_FILES_H_
