#include "base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

fl_status fl_map_open(fl_map *out, const char *path)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is refused below, not waited for */
    if (descriptor < 0) return fl_fail(FL_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    struct stat info;
    fl_map map = {0};
    fl_status status = FL_OK;
    if (fstat(descriptor, &info)) {
        status = fl_fail(FL_ERR_IO, "%s: cannot read its size: %s", path, strerror(errno));
    } else if (!S_ISREG(info.st_mode)) {
        status =
            fl_fail(FL_ERR_IO, "%s: is %s, not a file", path, S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe");
    } else if ((uint64_t)info.st_size > SIZE_MAX) {
        status = fl_fail(FL_ERR_MEMORY, "%s: %lld bytes do not fit the address space", path, (long long)info.st_size);
    } else if (info.st_size > 0) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (data == MAP_FAILED)
            status =
                fl_fail(FL_ERR_IO, "%s: cannot map %lld bytes: %s", path, (long long)info.st_size, strerror(errno));
        else
            map = (fl_map){data, (size_t)info.st_size};
    }
    close(descriptor);
    if (status == FL_OK) *out = map;
    return status;
}

void fl_map_release(const fl_map *m)
{
    if (m->data) madvise((void *)(uintptr_t)m->data, m->size, MADV_DONTNEED);
}

void fl_map_close(fl_map *m)
{
    if (m->data) munmap((void *)(uintptr_t)m->data, m->size);
    *m = (fl_map){0};
}
