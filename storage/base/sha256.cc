#include "storage/base/sha256.h"

#include <openssl/sha.h>

namespace umbra::base {

std::array<std::byte, 32> Sha256(std::string_view text) {
  std::array<std::byte, 32> digest;
  static_assert(sizeof(digest) == SHA256_DIGEST_LENGTH);
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

}  // namespace umbra::base
