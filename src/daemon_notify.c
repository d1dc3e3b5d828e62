// daemon_notify.c: messages to the service manager. They are hints: whether they arrive is not asked.
#include "src/daemon_notify.h"

#ifdef LV_HAVE_SYSTEMD
#include <inttypes.h>
#include <systemd/sd-daemon.h>

void
daemon_notify_ready(void)
{
    (void)sd_notify(0, "READY=1\nSTATUS=Running");
}

void
daemon_notify_reloading(uint64_t mono_us)
{
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\nSTATUS=Reloading the configuration",
                     mono_us);
}

void
daemon_notify_stopping(void)
{
    (void)sd_notify(0, "STOPPING=1\nSTATUS=Closing connections");
}

#else

void
daemon_notify_ready(void)
{
}

void
daemon_notify_reloading(uint64_t mono_us)
{
}

void
daemon_notify_stopping(void)
{
}

#endif
