// leveretctl_main.c: main() alone, so that tests can link the rest.
#include <curl/curl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/cli/leveretctl.h"

int
main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (curl_global_init(CURL_GLOBAL_SSL) != 0) {
        fputs("leveretctl: libcurl cannot be started\n", stderr);
        return CTL_SOFTWARE;
    }
    int status = ctl_main(argc, argv, (const char *const *)environ, stdin, stdout, stderr);
    curl_global_cleanup();
    return status;
}
