// daemon_notify.h: what systemd is told (sd_notify(3)); nothing happens without systemd or without
// libsystemd.
#pragma once

#include "src/base/lv.h"

void daemon_notify_ready(void);
void daemon_notify_reloading(uint64_t mono_us); // of CLOCK_MONOTONIC
void daemon_notify_stopping(void);
