// Inside this room: lists ask the database for one item more than a page holds, and so know whether there is a next
// page.
#ifndef UMBRA_STORAGE_CATALOG_PAGE_H_
#define UMBRA_STORAGE_CATALOG_PAGE_H_

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "storage/catalog/records.h"

namespace umbra::catalog {

template <typename Key>
int64_t RowLimit(const ListOptions<Key>& options) {
  return int64_t{std::max(options.page_size, 1)} + 1;
}

template <typename Item, typename Key, typename KeyOf>
Page<Item, Key> MakePage(std::vector<Item> items, const ListOptions<Key>& options, KeyOf key_of) {
  Page<Item, Key> page{.items = std::move(items)};
  if (static_cast<int64_t>(page.items.size()) == RowLimit(options)) {
    page.items.pop_back();
    page.next_key = key_of(page.items.back());
  }
  return page;
}

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_PAGE_H_
