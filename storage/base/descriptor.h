// An open file descriptor, closed with its owner.
#ifndef UMBRA_STORAGE_BASE_DESCRIPTOR_H_
#define UMBRA_STORAGE_BASE_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace umbra::base {

class Descriptor {
 public:
  Descriptor() = default;
  // What a system call gave: negative when it failed.
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { Close(); }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;

  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }
  void Set(int fd) {
    Close();
    fd_ = fd;
  }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_DESCRIPTOR_H_
