// Text of unknown origin, such as names of files, where only UTF-8 may stand: a message with other bytes can't be read at
// its other end.
#ifndef UMBRA_STORAGE_BASE_UTF8_H_
#define UMBRA_STORAGE_BASE_UTF8_H_

#include <string>
#include <string_view>

namespace umbra::base {

// `text` with a '?' for each byte that isn't part of a valid sequence.
std::string ValidUtf8(std::string_view text);

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_UTF8_H_
