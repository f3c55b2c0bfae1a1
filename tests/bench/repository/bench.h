// What the parts of repository_bench share.
#ifndef UMBRA_TESTS_BENCH_REPOSITORY_BENCH_H_
#define UMBRA_TESTS_BENCH_REPOSITORY_BENCH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/repo/blob_store.h"
#include "storage/repo/chunk.h"
#include "storage/repo/format.h"

namespace umbra::bench {

// Ends the program with the error's words.
void Require(const absl::Status& status);

template <typename T>
T Require(absl::StatusOr<T> value) {
  Require(value.status());
  return *std::move(value);
}

// Seconds of processor time that the calling thread has used, and of the monotonic clock.
double ThreadSeconds();
double WallSeconds();

// Bytes of this process that are resident now, after unused memory was given back.
uint64_t ResidentBytes();

// The id with this rank of `count`: sorted by rank, and like a hash in everything else.
repo::ChunkId IdOf(uint64_t rank, uint64_t count);
// A run that names `chunks` chunks, all these ids, in packs whose files are there but empty.
void WriteRun(repo::BlobStore& store, const repo::RawUuid& repository, uint64_t chunks);

// The parts; each prints one JSON object.
void MeasureIndex(const std::string& folder, uint64_t chunks);
void MeasureMark(const std::string& folder, uint64_t chunks, uint64_t points);
void MeasureLimits(const std::vector<std::string>& images, const std::string& folder, int level);

}  // namespace umbra::bench

#endif  // UMBRA_TESTS_BENCH_REPOSITORY_BENCH_H_
