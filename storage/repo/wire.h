// Little-endian fields, written and read one after another.
#ifndef UMBRA_STORAGE_REPO_WIRE_H_
#define UMBRA_STORAGE_REPO_WIRE_H_

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "storage/base/bytes.h"

namespace umbra::repo {

// Appends little-endian fields.
class ByteWriter {
 public:
  template <typename T>
  ByteWriter& Int(T value) {
    for (size_t i = 0; i < sizeof(T); ++i) out_.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
    return *this;
  }
  ByteWriter& Raw(base::Bytes bytes) { return Text(base::AsText(bytes)); }
  ByteWriter& Text(std::string_view text) {
    out_.append(text);
    return *this;
  }
  ByteWriter& Zero(size_t count) {
    out_.append(count, '\0');
    return *this;
  }
  const std::string& str() const { return out_; }
  std::string Take() { return std::move(out_); }

 private:
  std::string out_;
};

// Reads little-endian fields. Beyond the end everything reads as zero and ok() is false.
class ByteReader {
 public:
  explicit ByteReader(base::Bytes in) : in_(in) {}

  template <typename T>
  T Int() {
    const base::Bytes raw = Raw(sizeof(T));
    uint64_t value = 0;
    for (size_t i = 0; i < raw.size(); ++i) value |= std::to_integer<uint64_t>(raw[i]) << (8 * i);
    return static_cast<T>(value);
  }
  // Empty when fewer bytes are left.
  base::Bytes Raw(uint64_t count) {
    if (count > in_.size()) {
      ok_ = false;
      in_ = {};
      return {};
    }
    const base::Bytes part = in_.first(count);
    in_ = in_.subspan(count);
    return part;
  }
  template <size_t N>
  std::array<std::byte, N> Array() {
    std::array<std::byte, N> array{};
    const base::Bytes raw = Raw(N);
    if (!raw.empty()) std::memcpy(array.data(), raw.data(), N);
    return array;
  }
  bool Magic(std::string_view magic) { return base::AsText(Raw(magic.size())) == magic; }
  size_t left() const { return in_.size(); }
  bool ok() const { return ok_; }

 private:
  base::Bytes in_;
  bool ok_ = true;
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_WIRE_H_
