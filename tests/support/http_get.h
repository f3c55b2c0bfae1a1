// What a client gets over HTTP from a server of ours on loopback.
#ifndef UMBRA_TESTS_SUPPORT_HTTP_GET_H_
#define UMBRA_TESTS_SUPPORT_HTTP_GET_H_

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

namespace umbra::testing {

// The whole answer to `METHOD PATH`, headers included; empty when there is none. `address`: "127.0.0.1:port".
inline std::string HttpAsk(const std::string& address, const std::string& method_and_path) {
  const std::string request = method_and_path + " HTTP/1.0\r\nContent-Length: 0\r\n\r\n";
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0 &&
      send(fd, request.data(), request.size(), 0) == static_cast<ssize_t>(request.size())) {
    char part[4096];
    for (ssize_t got; (got = recv(fd, part, sizeof(part), 0)) > 0;) answer.append(part, static_cast<size_t>(got));
  }
  close(fd);
  return answer;
}

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_HTTP_GET_H_
