// replay_main.c: runs a fuzz target once over each file of the folders (or files) named; without libFuzzer.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/lv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        return 1;
    }
    struct stat st;
    if (fstat(fileno(f), &st) != 0) {
        perror(path);
        fclose(f);
        return 1;
    }
    size_t size = (size_t)st.st_size;
    uint8_t *data =
        malloc(size == 0 ? 1 : size); // exact size, so that AddressSanitizer sees reads past the end
    int bad = data == NULL || fread(data, 1, size, f) != size;
    if (!bad)
        LLVMFuzzerTestOneInput(data, size);
    free(data);
    fclose(f);
    return bad;
}

int
main(int argc, char **argv)
{
    int bad = 0;
    unsigned count = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (dir == NULL) {
            bad |= replay_file(argv[i]);
            count++;
            continue;
        }
        for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
            if (entry->d_name[0] == '.')
                continue;
            char path[4096];
            int len = snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            if (len > 0 && (size_t)len < sizeof path)
                bad |= replay_file(path);
            count++;
        }
        closedir(dir);
    }
    printf("%u inputs replayed\n", count);
    return bad || count == 0;
}
