// Target: the messages with which an agent uploads, through the sinks of the data service into a repository. The first
// byte chooses the message. Whatever is accepted is true, and whatever is refused changes nothing.
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <memory>

#include "server/api/agent/upload_sink.h"
#include "storage/base/clock.h"
#include "storage/base/random.h"
#include "storage/base/status.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/memory_filesystem.h"
#include "tests/support/repository_key.h"

namespace umbra::fuzz {
namespace {

constexpr char kSession[] = "session";
constexpr char kVm[] = "vm1";
constexpr char kDisk[] = "vda";

// A repository in memory with one session. Made anew now and then (never while something of it is in use), so that it
// doesn't grow for ever.
class Daemon {
 public:
  Daemon() {
    repo::RepositoryOptions options = testing::WithTestKey();
    options.chunk_size_bytes = repo::kMinChunkSizeBytes;
    auto made = repo::Repository::Create(files_, clock_, random_, "/repository", options);
    Require(made.ok(), "a repository can be made");
    repository = *std::move(made);
    Begin();
  }

  void Begin() {
    dispatch::Assignment assignment;
    assignment.vm_uuids = {kVm};
    session.reset(new api::OpenUpload{kSession, assignment, *repository, repository->BeginSession()});
  }

  api::FindSession finder() {
    return [this](const std::string& id) -> absl::StatusOr<api::UploadSessions::Handle> {
      if (id != kSession) return base::Error(absl::StatusCode::kNotFound, "SESSION_NOT_FOUND", "another");
      return session;
    };
  }

 private:
  testing::MemoryFilesystem files_;
  base::SystemClock clock_;
  base::SeededRandom random_{1};

 public:
  // Go first: a session that ends still seals what it has.
  std::unique_ptr<repo::Repository> repository;
  api::UploadSessions::Handle session;
};

std::unique_ptr<Daemon>& TheDaemon() {
  static std::unique_ptr<Daemon> daemon = std::make_unique<Daemon>();
  return daemon;
}

// The same for each of them: its key comes from a fixed seed.
const repo::ChunkHasher& Hasher() {
  return TheDaemon()->repository->hasher();
}

store::v1::Chunk ChunkOf(const std::string& plain, bool compress) {
  std::vector<std::byte> scratch;
  const repo::CompressedChunk compressed =
      repo::CompressChunk(base::AsBytes(plain), {compress ? repo::Codec::kZstd : repo::Codec::kRaw, 1}, scratch);
  store::v1::Chunk chunk;
  chunk.set_id(std::string(base::AsText(Hasher().Id(base::AsBytes(plain)).bytes)));
  chunk.set_plain_length(static_cast<uint32_t>(plain.size()));
  chunk.set_codec(static_cast<uint32_t>(compressed.codec));
  chunk.set_data(std::string(base::AsText(compressed.data)));
  return chunk;
}

const std::string& Plain(int number) {
  static const std::string plains[] = {std::string(900, 'a') + "b", "short",
                                       std::string(repo::kMinChunkSizeBytes, 'z')};
  return plains[number];
}

grpc::ByteBuffer BufferOf(std::string_view bytes) {
  const grpc::Slice slice(bytes.data(), bytes.size());
  return grpc::ByteBuffer(&slice, 1);
}

bool Known(const std::string& id) {
  const std::vector<repo::ChunkId> ids = {repo::ChunkId::FromBytes(base::AsBytes(id))};
  const auto wanted = TheDaemon()->session->upload->Wanted(ids);
  Require(wanted.ok(), "a session goes on whatever was refused");
  return wanted->at(0) == 0;
}

void TestUpload(std::string_view input) {
  Daemon& daemon = *TheDaemon();
  store::v1::UploadRequest request;
  const bool parsed = request.ParseFromArray(input.data(), static_cast<int>(input.size()));
  std::vector<bool> known;
  for (const store::v1::Chunk& chunk : request.chunks()) {
    known.push_back(parsed && chunk.id().size() == repo::kChunkIdSize && Known(chunk.id()));
  }
  api::UploadSink sink(daemon.finder());
  grpc::ByteBuffer message = BufferOf(input), response;
  const bool taken = sink.Take(message).ok();
  Require(parsed || !taken, "what is no message is refused");
  std::vector<std::byte> scratch;
  for (int i = 0; parsed && i < request.chunks_size(); ++i) {
    const store::v1::Chunk& chunk = request.chunks(i);
    if (chunk.id().size() != repo::kChunkIdSize) continue;
    const auto id = repo::ChunkId::FromBytes(base::AsBytes(chunk.id()));
    if (id.IsZero()) {
      Require(!taken, "the zero id is never uploaded");
      continue;
    }
    const bool now_known = Known(chunk.id());
    Require(now_known || !taken, "what was taken is known");
    if (!now_known || known[static_cast<size_t>(i)]) continue;
    // New in the repository, so one of the chunks of that id was true.
    bool one_is_true = false;
    for (const store::v1::Chunk& other : request.chunks()) {
      const auto codec = repo::ToCodec(other.codec());
      base::Bytes plain;
      one_is_true |= other.id() == chunk.id() && codec.has_value() &&
                     repo::OpenChunk(daemon.repository->hasher(), id, *codec, other.plain_length(),
                                     base::AsBytes(other.data()), scratch, plain)
                         .ok();
    }
    Require(one_is_true, "a chunk is stored only under the id of its bytes");
  }
  Require(sink.Finish(response).ok(), "an upload has an answer");
}

void TestMap(std::string_view input) {
  api::DiskMapSink sink(TheDaemon()->finder());
  store::v1::PutDiskMapRequest request;
  const bool parsed = request.ParseFromArray(input.data(), static_cast<int>(input.size()));
  grpc::ByteBuffer message = BufferOf(input), response;
  const bool taken = sink.Take(message).ok();
  Require(parsed || !taken, "what is no message is refused");
  if (!sink.Finish(response).ok() || !taken) return;
  const uint64_t chunks = request.chunk_ids().size() / repo::kChunkIdSize;
  const auto capacity = static_cast<uint64_t>(request.capacity_bytes());
  Require(
      request.capacity_bytes() > 0 && (capacity + repo::kMinChunkSizeBytes - 1) / repo::kMinChunkSizeBytes == chunks,
      "a finished map has an id for each chunk");
  Require(request.vm_uuid() == kVm && !request.disk().empty(), "a map belongs to a disk of the assignment");
  for (uint64_t i = 0; i < chunks; ++i) {
    const std::string id = request.chunk_ids().substr(i * repo::kChunkIdSize, repo::kChunkIdSize);
    Require(repo::ChunkId::FromBytes(base::AsBytes(id)).IsZero() || Known(id),
            "every chunk of a finished map is there");
  }
}

void TestNegotiate(std::string_view input) {
  store::v1::NegotiateRequest request;
  if (!request.ParseFromArray(input.data(), static_cast<int>(input.size()))) return;
  const auto ids = api::ParseIds(request.chunk_ids(), api::kNegotiateIdsMax);
  Require(ids.ok() == (request.chunk_ids().size() % repo::kChunkIdSize == 0 &&
                       request.chunk_ids().size() <= api::kNegotiateIdsMax * repo::kChunkIdSize),
          "whole ids are taken, up to the limit");
  if (!ids.ok()) return;
  const auto wanted = TheDaemon()->session->upload->Wanted(*ids);
  Require(wanted.ok() && wanted->size() == ids->size(), "there is an answer for each id");
}

// Manifests as the agent sends them, for a disk that has a map of one zero chunk.
void TestCommit(std::string_view input) {
  store::v1::CommitRequest request;
  if (!request.ParseFromArray(input.data(), static_cast<int>(input.size()))) return;
  Daemon& daemon = *TheDaemon();
  daemon.Begin();
  auto map = daemon.session->upload->AddDiskMap(kVm, kDisk, repo::kMinChunkSizeBytes);
  const std::vector<repo::ChunkId> ids = {repo::kZeroChunkId};
  Require(map.ok() && (*map)->Append(ids).ok() && (*map)->Finish().ok(), "a zero disk has a map");
  map->reset();
  const auto before = daemon.repository->ListRecoveryPoints();
  const auto committed = daemon.session->upload->Commit({request.manifests().begin(), request.manifests().end()});
  const auto after = daemon.repository->ListRecoveryPoints();
  Require(before.ok() && after.ok() && after->problems.empty(), "points can be listed whatever was committed");
  const size_t added = committed.ok() ? committed->size() : 0;
  Require(after->points.size() == before->points.size() + added, "a commit shows its points, a refused one nothing");
  for (size_t i = 0; i < added; ++i) {
    const repo::Manifest& manifest = committed->at(i);
    const auto read = daemon.repository->ReadManifest(manifest.recovery_point_id());
    Require(read.ok() && read->SerializeAsString() == manifest.SerializeAsString(),
            "a manifest reads back as it was stored");
    Require(daemon.repository->RemoveRecoveryPoint(manifest.recovery_point_id(), {}).ok(), "a point can be removed");
  }
  daemon.Begin();
}

}  // namespace

std::vector<std::string> Seeds() {
  store::v1::UploadRequest upload;
  upload.set_session_id(kSession);
  *upload.add_chunks() = ChunkOf(Plain(0), true);
  *upload.add_chunks() = ChunkOf(Plain(1), false);
  store::v1::UploadRequest whole;
  whole.set_session_id(kSession);
  *whole.add_chunks() = ChunkOf(Plain(2), true);
  store::v1::PutDiskMapRequest map;
  map.set_session_id(kSession);
  map.set_vm_uuid(kVm);
  map.set_disk(kDisk);
  map.set_capacity_bytes(3 * repo::kMinChunkSizeBytes + static_cast<int64_t>(Plain(0).size()));
  map.set_chunk_ids(ChunkOf(Plain(2), true).id() + std::string(repo::kChunkIdSize, '\0') +
                    ChunkOf(Plain(2), true).id() + ChunkOf(Plain(0), true).id());
  store::v1::NegotiateRequest negotiate;
  negotiate.set_session_id(kSession);
  negotiate.set_chunk_ids(map.chunk_ids());
  store::v1::CommitRequest commit;
  commit.set_session_id(kSession);
  repo::Manifest& manifest = *commit.add_manifests();
  manifest.set_vm_uuid(kVm);
  manifest.set_vm_display_name("machine");
  auto& disk = *manifest.add_disks();
  disk.set_name(kDisk);
  disk.set_capacity_bytes(repo::kMinChunkSizeBytes);
  store::v1::CommitRequest twice = commit;
  *twice.add_manifests() = manifest;
  twice.mutable_manifests(1)->set_recovery_point_id("0c7f2a52-65d1-4c8e-9a51-1f5c3e8d7b20");
  return {"0" + upload.SerializeAsString(),    "0" + whole.SerializeAsString(),  "1" + map.SerializeAsString(),
          "2" + negotiate.SerializeAsString(), "3" + commit.SerializeAsString(), "3" + twice.SerializeAsString()};
}

void TestOneInput(std::string_view input) {
  if (input.empty()) return;
  static int inputs = 0;
  if (++inputs % 500 == 0) TheDaemon() = std::make_unique<Daemon>();
  const std::string_view rest = input.substr(1);
  switch (input[0] & 3) {
    case 0:
      TestUpload(rest);
      break;
    case 1:
      TestMap(rest);
      break;
    case 2:
      TestNegotiate(rest);
      break;
    case 3:
      TestCommit(rest);
      break;
  }
}

}  // namespace umbra::fuzz
