// The schema's steps, embedded at build time from migrations/NNNN_what.sql (see CMakeLists.txt).
#ifndef UMBRA_STORAGE_CATALOG_MIGRATIONS_H_
#define UMBRA_STORAGE_CATALOG_MIGRATIONS_H_

#include <span>

#include "storage/sqlite/migrator.h"

namespace umbra::catalog {

std::span<const sqlite::Migration> Migrations();

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_MIGRATIONS_H_
