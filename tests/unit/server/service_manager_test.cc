// Proves what systemd is told: ready, reloading, stopping, and signs of life only while the daemon lives.
#include "server/service_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/support/temp_dir.h"

namespace umbra::server {
namespace {

using ::testing::HasSubstr;

class ServiceManagerTest : public ::testing::Test {
 protected:
  ServiceManagerTest() : path_(dir_.File("notify")), socket_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address = {.sun_family = AF_UNIX};
    std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    setenv("NOTIFY_SOCKET", path_.c_str(), 1);
  }
  ~ServiceManagerTest() override {
    close(socket_);
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) unsetenv(name);
  }

  // The next message; empty when none comes in time.
  std::string Told(int patience_ms = 10'000) {
    pollfd wait = {.fd = socket_, .events = POLLIN};
    if (poll(&wait, 1, patience_ms) != 1) return "";
    char text[512];
    const ssize_t size = recv(socket_, text, sizeof(text), 0);
    return size > 0 ? std::string(text, static_cast<size_t>(size)) : "";
  }

  testing::TempDir dir_;
  const std::string path_;
  const int socket_;
  base::SystemClock clock_;
};

TEST_F(ServiceManagerTest, TellsReadyReloadingAndStopping) {
  {
    ServiceManager manager(clock_, [] { return true; });
    manager.Ready();
    EXPECT_EQ(Told(), "READY=1");
    manager.Reloading();
    EXPECT_THAT(Told(), HasSubstr("RELOADING=1\nMONOTONIC_USEC="));
  }
  EXPECT_EQ(Told(), "STOPPING=1");
}

TEST_F(ServiceManagerTest, SignsOfLifeComeWhileItLivesAndOnlyWhenAsked) {
  setenv("WATCHDOG_USEC", "20000", 1);
  std::atomic<bool> alive = true;
  std::atomic<int> asked = 0;
  ServiceManager manager(clock_, [&] {
    ++asked;
    return alive.load();
  });
  EXPECT_EQ(Told(), "WATCHDOG=1");
  EXPECT_EQ(Told(), "WATCHDOG=1");
  alive = false;
  const int before = asked;
  while (asked < before + 3) clock_.Sleep(absl::Milliseconds(1));  // the second of them began after the change
  while (!Told(0).empty()) {
  }
  while (asked < before + 6) clock_.Sleep(absl::Milliseconds(1));
  EXPECT_EQ(Told(0), "") << "it isn't alive";
}

TEST_F(ServiceManagerTest, WithoutSystemdNothingHappens) {
  unsetenv("NOTIFY_SOCKET");
  ServiceManager manager(clock_, [] { return true; });
  manager.Ready();
  EXPECT_EQ(Told(0), "");
}

}  // namespace
}  // namespace umbra::server
