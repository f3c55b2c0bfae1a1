// What the parts of an open repository share.
#ifndef UMBRA_STORAGE_REPO_CORE_H_
#define UMBRA_STORAGE_REPO_CORE_H_

#include <memory>

#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/repo/base_map.h"
#include "storage/repo/catalog_copies.h"
#include "storage/repo/chunk_index.h"
#include "storage/repo/chunk_reader.h"
#include "storage/repo/chunks_in_flight.h"
#include "storage/repo/key_store.h"
#include "storage/repo/pack_sweeper.h"
#include "storage/repo/point_states.h"
#include "storage/repo/point_store.h"
#include "storage/repo/repository.h"
#include "storage/repo/repository_time.h"
#include "storage/repo/space_reserve.h"

namespace umbra::repo {

// Every member is constant after construction or thread-safe itself.
struct Core {
  Core(std::unique_ptr<BlobStore> blob_store, std::unique_ptr<base::File> owner_lock, base::Clock& the_clock,
       base::Random& the_random, const RepositoryInfo& the_info, const RepositoryOptions& the_options,
       std::unique_ptr<KeyStore> the_key_store)
      : lock(std::move(owner_lock)),
        store(std::move(blob_store)),
        clock(the_clock),
        random(the_random),
        info(the_info),
        options(the_options),
        uuid(ToRawUuid(info.uuid)),
        key_store(std::move(the_key_store)),
        hasher(info.id_suite, base::AsBytes(info.id_key)),
        index(*store, random, uuid, options.unindexed_chunks_max),
        packs(*store, index, keys(), uuid),
        points(*store, random, keys(), uuid),
        time(*store, clock, hasher, info.uuid),
        reserve(*store, random, options.reserve_bytes),
        states(*store, points, base_holds, time, reserve, hasher, info.uuid),
        sweeper(*store, clock, random, index, packs, reserve, hasher, info.uuid),
        catalogs(*store, clock, random, keys(), uuid) {}

  const DataKeys& keys() const { return key_store->data_keys(); }

  const std::unique_ptr<base::File> lock;  // null when the caller vouches for being alone
  const std::unique_ptr<BlobStore> store;
  base::Clock& clock;
  base::Random& random;
  const RepositoryInfo info;
  const RepositoryOptions options;
  const RawUuid uuid;
  const std::unique_ptr<KeyStore> key_store;
  const ChunkHasher hasher;
  ChunkIndex index;
  ChunksInFlight in_flight;
  PackCache packs;
  PointStore points;
  BaseHolds base_holds;
  RepositoryTime time;
  SpaceReserve reserve;
  PointStates states;
  PackSweeper sweeper;
  CatalogCopies catalogs;
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_CORE_H_
