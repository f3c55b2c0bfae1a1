// The file systems that the contracts of this folder are tried on, each with an empty folder in it.
#ifndef UMBRA_TESTS_CONTRACT_FILESYSTEM_PLACES_H_
#define UMBRA_TESTS_CONTRACT_FILESYSTEM_PLACES_H_

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "storage/base/bytes.h"
#include "storage/base/filesystem.h"
#include "tests/support/fault_filesystem.h"
#include "tests/support/memory_filesystem.h"
#include "tests/support/temp_dir.h"

namespace umbra::base {

struct Place {
  virtual ~Place() = default;
  virtual Filesystem& fs() = 0;
  virtual std::string folder() const = 0;
  virtual bool shares() const { return true; }        // files can share their content here
  virtual std::string missing() const { return ""; }  // why it can't be had here; empty: it can
};

// The real one, wherever temporary files lie.
struct Temporary final : Place {
  testing::TempDir temp;
  PosixFilesystem posix;
  Filesystem& fs() override { return posix; }
  std::string folder() const override { return temp.path(); }
  bool shares() const override { return false; }  // or it does: who knows what /tmp is
};

struct Memory : Place {
  testing::MemoryFilesystem memory;
  Memory() { EXPECT_TRUE(memory.MakeDirectories("/folder").ok()); }
  Filesystem& fs() override { return memory; }
  std::string folder() const override { return "/folder"; }
};

struct Faults final : Memory {
  testing::FaultFilesystem faults{memory};
  Filesystem& fs() override { return faults; }
};

struct Implementation {
  const char* name;
  std::function<std::unique_ptr<Place>()> make;
};

// With a place of its own for each test.
class PlaceTest : public ::testing::TestWithParam<Implementation> {
 protected:
  std::string In(const std::string& name) const { return place_->folder() + "/" + name; }
  void Write(const std::string& name, std::string_view content) {
    auto file = fs_.Open(In(name), OpenMode::kTruncate);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->WriteAt(0, AsBytes(content)).ok());
  }
  std::string Read(const std::string& name) { return fs_.ReadFile(In(name)).value_or("(error)"); }

  std::unique_ptr<Place> place_ = GetParam().make();
  Filesystem& fs_ = place_->fs();
};

}  // namespace umbra::base

#endif  // UMBRA_TESTS_CONTRACT_FILESYSTEM_PLACES_H_
