// Comparing secrets.
#ifndef UMBRA_STORAGE_BASE_SECRET_EQUALS_H_
#define UMBRA_STORAGE_BASE_SECRET_EQUALS_H_

#include "storage/base/bytes.h"

namespace umbra::base {

// Compares in a time that doesn't tell where they differ; that their lengths do, it tells.
bool SecretEquals(Bytes a, Bytes b);

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_SECRET_EQUALS_H_
