// crc.h: CRC-32C (Castagnoli), the checksum of everything the store and the node links write.
#pragma once

#include "src/base/lv.h"

// The CRC of `len` more bytes after those of `earlier` (0 at the start). Any thread.
uint32_t crc32c(uint32_t earlier, const void *ptr, size_t len);
