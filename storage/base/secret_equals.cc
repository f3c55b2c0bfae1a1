#include "storage/base/secret_equals.h"

#include <openssl/crypto.h>

namespace umbra::base {

bool SecretEquals(Bytes a, Bytes b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace umbra::base
