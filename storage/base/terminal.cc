#include "storage/base/terminal.h"

#include <fmt/format.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <cstdio>

namespace umbra::base {

std::string ReadHiddenLine(const std::string& prompt) {
  termios shown{};
  const bool terminal = isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &shown) == 0;
  if (terminal) {
    fmt::print(stderr, "{}", prompt);
    termios hidden = shown;
    hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
  }
  char line[2048] = {};
  std::string text = fgets(line, sizeof line, stdin) == nullptr ? "" : line;
  explicit_bzero(line, sizeof line);
  if (terminal) {
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
    fmt::print(stderr, "\n");
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

}  // namespace umbra::base
