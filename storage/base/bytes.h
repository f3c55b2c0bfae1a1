// Sizes, views of bytes, hexadecimal.
#ifndef UMBRA_STORAGE_BASE_BYTES_H_
#define UMBRA_STORAGE_BASE_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace umbra::base {

inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = 1024 * kKiB;
inline constexpr uint64_t kGiB = 1024 * kMiB;

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline Bytes AsBytes(std::string_view s) { return std::as_bytes(std::span(s.data(), s.size())); }
inline std::string_view AsText(Bytes b) { return {reinterpret_cast<const char*>(b.data()), b.size()}; }

// Lower-case hexadecimal.
std::string ToHex(Bytes bytes);
// Empty optional when `hex` has an odd length or another character than 0-9 a-f A-F.
std::optional<std::string> FromHex(std::string_view hex);

// True when every byte is zero. Fast on whole chunks (memory speed).
bool IsZero(Bytes bytes);

// "1.5 GiB", for people.
std::string FormatSize(uint64_t bytes);

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_BYTES_H_
