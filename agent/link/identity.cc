#include "agent/link/identity.h"

#include <vector>

#include "storage/base/log.h"
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

absl::StatusOr<std::optional<Identity>> Load(base::Filesystem& files, const std::string& path) {
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

absl::Status Save(base::Filesystem& files, const std::string& path, const Identity& identity) {
  return files.WriteFileAtomic(
      path, fmt::format("{}{}\n{}{}\n{}\n{}\n{}\n", kHostLine, identity.host_id, kDaemonLine, identity.daemon_address,
                        identity.key_pem, identity.certificate_pem, identity.authority_pem));
}

}  // namespace

std::string IdentityPath(const std::string& data_dir) {
  return data_dir + "/identity.pem";
}

std::string IdentityBeforePath(const std::string& data_dir) {
  return data_dir + "/identity-before.pem";
}

absl::StatusOr<std::optional<Identity>> LoadIdentity(base::Filesystem& files, const std::string& data_dir) {
  return Load(files, IdentityPath(data_dir));
}

absl::Status SaveIdentity(base::Filesystem& files, const std::string& data_dir, const Identity& identity) {
  RETURN_IF_ERROR(files.MakeDirectories(data_dir));
  RETURN_IF_ERROR(Save(files, IdentityPath(data_dir), identity));
  // Of an enrolment that counts no more. Left over, it would only be tried in vain.
  ASSIGN_OR_RETURN(const bool exists, files.Exists(IdentityBeforePath(data_dir)));
  return exists ? files.Remove(IdentityBeforePath(data_dir)) : absl::OkStatus();
}

absl::StatusOr<std::optional<Identities>> LoadIdentities(base::Filesystem& files, const std::string& data_dir) {
  absl::StatusOr<std::optional<Identity>> present = LoadIdentity(files, data_dir);
  if (present.ok() && !present->has_value()) return std::optional<Identities>();
  absl::StatusOr<std::optional<Identity>> before = Load(files, IdentityBeforePath(data_dir));
  if (!before.ok()) {
    base::Log("link")->warn("identity before not used error=\"{}\"", base::Describe(before.status()));
    before = std::optional<Identity>();
  }
  if (!present.ok()) {
    if (!absl::IsDataLoss(present.status()) || !before->has_value()) return present.status();
    base::Log("link")->warn("the identity before is used error=\"{}\"", base::Describe(present.status()));
    return Identities{**std::move(before), std::nullopt};
  }
  Identities identities{**std::move(present), *std::move(before)};
  const std::optional<Identity>& other = identities.before;
  if (other &&
      (other->host_id != identities.present.host_id || other->authority_pem != identities.present.authority_pem ||
       other->certificate_pem == identities.present.certificate_pem)) {
    identities.before.reset();
  }
  return identities;
}

// A kill between the two leaves the present identity twice.
absl::Status SaveRenewedIdentity(base::Filesystem& files, const std::string& data_dir, const Identity& renewed,
                                 const Identity& before) {
  RETURN_IF_ERROR(Save(files, IdentityBeforePath(data_dir), before));
  return Save(files, IdentityPath(data_dir), renewed);
}

}  // namespace umbra::link
