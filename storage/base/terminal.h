// What a person types at a terminal.
#ifndef UMBRA_STORAGE_BASE_TERMINAL_H_
#define UMBRA_STORAGE_BASE_TERMINAL_H_

#include <string>

namespace umbra::base {

// A line of standard input, of at most 2,047 characters, without its end. A terminal shows `prompt`, and not what is typed.
std::string ReadHiddenLine(const std::string& prompt);

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_TERMINAL_H_
