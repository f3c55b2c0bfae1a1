#include "server/notifications/secrets.h"

#include <algorithm>

#include "storage/base/bytes.h"
#include "storage/base/status.h"

namespace umbra::notifications {
namespace {

constexpr size_t kNameMax = 100;
constexpr uint64_t kSecretSizeMax = 4 * base::kKiB;
constexpr uint64_t kCertificatesSizeMax = base::kMiB;

template <typename... Args>
absl::Status Missing(fmt::format_string<Args...> format, Args&&... args) {
  return base::Error(absl::StatusCode::kFailedPrecondition, "NOTIFICATION_SECRET_MISSING", format,
                     std::forward<Args>(args)...);
}

bool IsLetterOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

bool Secrets::IsName(const std::string& name) {
  return !name.empty() && name.size() <= kNameMax && name.front() != '.' &&
         std::ranges::all_of(name, [](char c) { return IsLetterOrDigit(c) || c == '.' || c == '_' || c == '-'; });
}

absl::StatusOr<std::string> Secrets::ReadFile(const std::string& name, uint64_t size_max) const {
  if (!IsName(name)) return Missing("'{}' is no name of a file in {}", name, folder_);
  const std::string path = folder_ + "/" + name;
  auto content = filesystem_.ReadFile(path, size_max);
  if (!content.ok()) return Missing("{}: {}", path, base::MessageOf(content.status()));
  return content;
}

absl::StatusOr<std::string> Secrets::Read(const std::string& name) const {
  ASSIGN_OR_RETURN(std::string line, ReadFile(name, kSecretSizeMax));
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  const bool control =
      std::ranges::any_of(line, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (line.empty() || control) return Missing("{}/{} must be one line of text", folder_, name);
  return line;
}

absl::StatusOr<std::string> Secrets::ReadCertificates(const std::string& name) const {
  ASSIGN_OR_RETURN(std::string pem, ReadFile(name, kCertificatesSizeMax));
  if (pem.find("-----BEGIN CERTIFICATE-----") == std::string::npos) {
    return Missing("{}/{} has no certificate in PEM", folder_, name);
  }
  return pem;
}

}  // namespace umbra::notifications
