#include "agent/link/identity.h"

#include <vector>

#include "storage/base/status.h"
#include "storage/tls/x509.h"

namespace umbra::link {
namespace {

constexpr std::string_view kHostLine = "umbra-host: ";
constexpr std::string_view kDaemonLine = "umbra-daemon: ";
constexpr uint64_t kFileSizeMax = 64 * base::kKiB;

// The rest of the line that starts with `prefix`.
std::string Line(std::string_view text, std::string_view prefix) {
  const size_t at = text.find(prefix);
  if (at == std::string_view::npos) return "";
  const size_t begin = at + prefix.size();
  return std::string(text.substr(begin, text.find('\n', begin) - begin));
}

// The PEM blocks in order.
std::vector<std::string> Blocks(std::string_view text) {
  std::vector<std::string> blocks;
  size_t at = 0;
  while ((at = text.find("-----BEGIN ", at)) != std::string_view::npos) {
    size_t end = text.find("-----END ", at);
    if (end == std::string_view::npos) break;
    end = std::min(text.find('\n', end), text.size() - 1) + 1;
    blocks.emplace_back(text.substr(at, end - at));
    at = end;
  }
  return blocks;
}

}  // namespace

std::string IdentityPath(const std::string& data_dir) { return data_dir + "/identity.pem"; }

absl::StatusOr<std::optional<Identity>> LoadIdentity(base::Filesystem& files, const std::string& data_dir) {
  const std::string path = IdentityPath(data_dir);
  ASSIGN_OR_RETURN(const bool exists, files.Exists(path));
  if (!exists) return std::optional<Identity>();
  ASSIGN_OR_RETURN(const std::string text, files.ReadFile(path, kFileSizeMax));
  const std::vector<std::string> blocks = Blocks(text);
  Identity identity{.host_id = Line(text, kHostLine), .daemon_address = Line(text, kDaemonLine)};
  absl::Status usable = base::MakeError(absl::StatusCode::kDataLoss, "IDENTITY_DAMAGED", "incomplete");
  if (blocks.size() == 3 && !identity.host_id.empty() && !identity.daemon_address.empty()) {
    identity.key_pem = blocks[0];
    identity.certificate_pem = blocks[1];
    identity.authority_pem = blocks[2];
    usable = tls::CheckKeyMatches(identity.certificate_pem, identity.key_pem);
    if (usable.ok()) usable = tls::Inspect(identity.authority_pem).status();
  }
  if (!usable.ok()) {
    return base::Error(absl::StatusCode::kDataLoss, "IDENTITY_DAMAGED",
                       "{} can't be used ({}); remove it and enrol again with a new token", path, base::MessageOf(usable));
  }
  return std::optional<Identity>(std::move(identity));
}

absl::Status SaveIdentity(base::Filesystem& files, const std::string& data_dir, const Identity& identity) {
  RETURN_IF_ERROR(files.MakeDirectories(data_dir));
  return files.WriteFileAtomic(IdentityPath(data_dir),
                               fmt::format("{}{}\n{}{}\n{}\n{}\n{}\n", kHostLine, identity.host_id, kDaemonLine,
                                           identity.daemon_address, identity.key_pem, identity.certificate_pem,
                                           identity.authority_pem));
}

}  // namespace umbra::link
