#include "server/rest/static_files.h"

#include <utility>
#include <vector>

#include "server/rest/conventions.h"
#include "storage/base/status.h"

namespace umbra::rest {
namespace {

constexpr size_t kBytesMax = 64 * base::kMiB;
constexpr size_t kFilesMax = 2000;
constexpr char kIndex[] = "/index.html";
constexpr char kHashed[] = "/assets/";
// Scripts and styles of our own, no frames; styles inside elements are what charts are drawn with.
constexpr char kPolicy[] =
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

std::string_view TypeOf(std::string_view path) {
  static constexpr std::pair<std::string_view, std::string_view> kTypes[] = {
      {".html", "text/html; charset=utf-8"},
      {".js", "text/javascript; charset=utf-8"},
      {".mjs", "text/javascript; charset=utf-8"},
      {".css", "text/css; charset=utf-8"},
      {".json", "application/json"},
      {".webmanifest", "application/manifest+json"},
      {".svg", "image/svg+xml"},
      {".png", "image/png"},
      {".ico", "image/x-icon"},
      {".woff2", "font/woff2"},
      {".txt", "text/plain; charset=utf-8"},
  };
  for (const auto& [ending, type] : kTypes) {
    if (path.ends_with(ending)) return type;
  }
  return "application/octet-stream";
}

absl::Status Unusable(const std::string& folder, std::string_view what) {
  return base::Error(absl::StatusCode::kFailedPrecondition, "CONFIG_INVALID", "http.dashboard_dir: {}: {}", folder,
                     what);
}

}  // namespace

absl::StatusOr<StaticFiles> StaticFiles::Read(base::Filesystem& filesystem, const std::string& folder) {
  StaticFiles files;
  std::vector<std::pair<std::string, std::string>> packed;
  size_t bytes = 0;
  size_t count = 0;
  for (std::vector<std::string> open = {""}; !open.empty();) {
    const std::string below = std::move(open.back());
    open.pop_back();
    ASSIGN_OR_RETURN(const auto entries, filesystem.ListEntries(folder + below));
    for (const base::FolderEntry& entry : entries) {
      const std::string path = below + "/" + entry.name;
      if (entry.kind == base::EntryKind::kFolder) open.push_back(path);
      if (entry.kind != base::EntryKind::kFile) continue;
      ASSIGN_OR_RETURN(std::string content, filesystem.ReadFile(folder + path, kBytesMax));
      bytes += content.size();
      if (bytes > kBytesMax || ++count > kFilesMax) return Unusable(folder, "more than 64 MiB or 2,000 files");
      if (path.ends_with(".gz")) {
        packed.emplace_back(path.substr(0, path.size() - 3), std::move(content));
      } else {
        std::string tag = TagOf("", content);
        files.files_[path] = {std::make_shared<std::string>(std::move(content)), nullptr, std::move(tag)};
      }
    }
  }
  for (auto& [path, content] : packed) {
    if (const auto plain = files.files_.find(path); plain != files.files_.end()) {
      plain->second.packed = std::make_shared<std::string>(std::move(content));
    }
  }
  if (!files.files_.contains(kIndex)) return Unusable(folder, "there is no index.html in it");
  return files;
}

Response StaticFiles::Get(std::string_view path, bool gzip, const std::string* if_none_match) const {
  Response response;
  auto found = files_.find(path);
  const size_t slash = path.rfind('/');
  const bool looks_like_file = slash != std::string_view::npos && path.find('.', slash) != std::string_view::npos;
  if (found == files_.end() && !looks_like_file) found = files_.find(kIndex);
  if (found == files_.end()) {
    response.status = 404;
    return response;
  }
  const auto& [name, file] = *found;
  response.Set("Cache-Control", name.starts_with(kHashed) ? "public, max-age=31536000, immutable" : "no-cache");
  response.Set("Content-Security-Policy", kPolicy);
  response.Set("ETag", file.tag);
  response.Set("Vary", "Accept-Encoding");
  if (if_none_match != nullptr && Matches(*if_none_match, file.tag)) {
    response.status = 304;
    return response;
  }
  response.Set("Content-Type", TypeOf(name));
  if (gzip && file.packed != nullptr) response.Set("Content-Encoding", "gzip");
  response.shared_body = gzip && file.packed != nullptr ? file.packed : file.bytes;
  return response;
}

}  // namespace umbra::rest
