#include "storage/repo/sealed_record.h"

#include <charconv>

#include "storage/base/status.h"
#include "storage/repo/format.h"

namespace umbra::repo {
namespace {

constexpr std::string_view kSeal = "seal ";
constexpr std::string_view kChecksum = "checksum ";

absl::Status Damaged(std::string_view kind, std::string_view what) {
  return base::Error(absl::StatusCode::kDataLoss, "MANIFEST_DAMAGED", "{} is damaged: {}", kind, what);
}

std::string ChecksumLine(std::string_view text) {
  return fmt::format("{}{}\n", kChecksum, base::ToHex(HashOf(base::AsBytes(text))));
}

}  // namespace

SealedRecord::SealedRecord(std::string_view kind, std::string_view repository) : kind_(kind) {
  Add("repository", repository);
}

SealedRecord& SealedRecord::Add(std::string_view key, std::string_view value) {
  std::string clean(value);
  for (char& c : clean) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  fields_.emplace_back(key, std::move(clean));
  return *this;
}

SealedRecord& SealedRecord::Add(std::string_view key, int64_t value) {
  return Add(key, fmt::format("{}", value));
}

SealedRecord& SealedRecord::Add(std::string_view key, absl::Time time) {
  return Add(key, absl::ToUnixMicros(time));
}

std::string SealedRecord::Encode(const ChunkHasher& hasher) const {
  std::string text = fmt::format("umbra-{}\n", kind_);
  for (const auto& [key, value] : fields_) text += fmt::format("{} {}\n", key, value);
  text += fmt::format("{}{}\n", kSeal, hasher.Id(base::AsBytes(text)).ToHex());
  text += ChecksumLine(text);
  return text;
}

absl::Status SealedRecord::CheckStored(std::string_view text) {
  const size_t at = text.rfind(fmt::format("\n{}", kChecksum)) + 1;
  if (at != 0 && text.substr(at) == ChecksumLine(text.substr(0, at))) return absl::OkStatus();
  return Damaged("a record", "its checksum is wrong");
}

absl::StatusOr<SealedRecord> SealedRecord::Decode(const ChunkHasher& hasher, std::string_view kind,
                                                  std::string_view repository, std::string_view text) {
  RETURN_IF_ERROR(CheckStored(text));
  text = text.substr(0, text.rfind(fmt::format("\n{}", kChecksum)) + 1);
  const size_t seal_at = text.rfind(fmt::format("\n{}", kSeal)) + 1;
  if (seal_at == 0) return Damaged(kind, "it has no seal");
  const std::string seal = fmt::format("{}{}\n", kSeal, hasher.Id(base::AsBytes(text.substr(0, seal_at))).ToHex());
  if (text.substr(seal_at) != seal) return Damaged(kind, "its seal is wrong");
  const std::string first = fmt::format("umbra-{}\n", kind);
  if (!text.starts_with(first)) return Damaged(kind, "it is something else");
  SealedRecord record;
  record.kind_ = kind;
  for (std::string_view rest = text.substr(0, seal_at).substr(first.size()); !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(line.size() + 1);
    const size_t space = std::min(line.find(' '), line.size());
    record.fields_.emplace_back(line.substr(0, space), line.substr(std::min(space + 1, line.size())));
  }
  if (record.Text("repository") != repository) return Damaged(kind, "it belongs to another repository");
  return record;
}

std::string SealedRecord::Text(std::string_view key) const {
  for (const auto& [name, value] : fields_) {
    if (name == key) return value;
  }
  return "";
}

int64_t SealedRecord::Number(std::string_view key) const {
  const std::string text = Text(key);
  int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

absl::Time SealedRecord::Time(std::string_view key) const {
  return absl::FromUnixMicros(Number(key));
}

std::vector<std::string> SealedRecord::All(std::string_view key) const {
  std::vector<std::string> values;
  for (const auto& [name, value] : fields_) {
    if (name == key) values.push_back(value);
  }
  return values;
}

}  // namespace umbra::repo
