// SHA-256, for names and fingerprints of texts. The repository's ids and hashes are in storage/repo.
#ifndef UMBRA_STORAGE_BASE_SHA256_H_
#define UMBRA_STORAGE_BASE_SHA256_H_

#include <array>
#include <cstddef>
#include <string_view>

namespace umbra::base {

std::array<std::byte, 32> Sha256(std::string_view text);

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_SHA256_H_
