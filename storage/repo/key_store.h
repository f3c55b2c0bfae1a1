// The keys of one repository: opens it, and adds, removes and rotates keys (docs/formats/repository.md section 9).
#ifndef UMBRA_STORAGE_REPO_KEY_STORE_H_
#define UMBRA_STORAGE_REPO_KEY_STORE_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/clock.h"
#include "storage/base/random.h"
#include "storage/repo/blob_store.h"
#include "storage/repo/key_format.h"
#include "storage/repo/keys.h"
#include "storage/repo/seal.h"

namespace umbra::repo {

// Thread-safe. `store`, `clock` and `random` outlive it.
class KeyStore {
 public:
  struct Place {
    BlobStore& store;
    base::Clock& clock;
    base::Random& random;
    RawUuid repository;
    Hash header_hash;
    Argon2Cost passphrase_cost;
  };

  // Makes the first slot and ring, with random keys. Durable when OK. Call before the header is written; keys that a
  // cut-short call left are deleted.
  static absl::Status Create(const Place& place, const KeySecret& secret, const std::string& label);

  // FAILED_PRECONDITION / KEY_MISSING   no key was given.
  //                     / KEY_WRONG     it opens no slot, or one that the last rotation passed over.
  // DATA_LOSS / KEYS_DAMAGED            slots or the newest ring are damaged, or the header isn't the one of this
  // repository.
  static absl::StatusOr<std::unique_ptr<KeyStore>> Open(const Place& place, const KeySecret& secret);

  const DataKeys& data_keys() const { return data_keys_; }
  const Key& id_key() const { return id_key_; }

  absl::StatusOr<KeyList> List();
  // Durable when OK. INVALID_ARGUMENT / KEY_INVALID when the label is too long.
  absl::StatusOr<KeyInfo> Add(const KeySecret& secret, const std::string& label);
  // NOT_FOUND / KEY_NOT_FOUND; FAILED_PRECONDITION / KEY_LAST, KEY_IN_USE (this process opened the repository with it).
  absl::Status Remove(const std::string& id);
  // Begins an epoch: what is written from now on, no key that was removed before opens. Returns the list after it;
  // slots that the rotation passed over have a problem in it.
  absl::StatusOr<KeyList> Rotate();

 private:
  struct StoredSlot {
    SlotId id;
    absl::StatusOr<KeySlot> slot;
  };

  explicit KeyStore(const Place& place) : place_(place) {}

  static absl::StatusOr<std::vector<StoredSlot>> ReadSlots(const Place& place);
  // An intact copy of the newest ring. Writes a copy that is missing or damaged again.
  static absl::StatusOr<SealedRing> ReadNewestRing(const Place& place);
  static absl::Status PutRing(const Place& place, uint32_t epoch, const std::string& bytes);
  static absl::StatusOr<KeySlot> NewSlot(const Place& place, const KeySecret& secret, const std::string& label,
                                         uint32_t epoch, const Key& root);

  absl::Status OpenWith(const SealedRing& ring, const std::vector<StoredSlot>& slots, const KeySecret& secret);
  absl::Status Unlock(const SealedRing& ring, const KeySlot& slot, const Key& seed);
  // Empty when the slot opens the newest ring and was made by somebody who had the keys.
  std::string ProblemOf(const StoredSlot& stored) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  KeyInfo InfoOf(const StoredSlot& stored) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<KeyList> ListLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<uint32_t> NextEpoch() const;

  const Place place_;
  DataKeys data_keys_;
  Key id_key_;

  // One change at a time; held across disk syncs, on purpose: nothing on the way of data takes it.
  mutable absl::Mutex mu_;
  SlotId own_slot_ ABSL_GUARDED_BY(mu_){};
  Ring ring_ ABSL_GUARDED_BY(mu_);
  std::map<uint32_t, Key> roots_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_KEY_STORE_H_
