#include "base/clock.h"

#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/cgroup.h"

double fl_clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double fl_clock_wall(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int64_t fl_peak_resident_bytes(void)
{
    /* getrusage's number survives exec: a small program started by a large one would report its parent's peak. */
    long long kilobytes = 0;
    FILE *file = fopen("/proc/self/status", "re");
    if (file) {
        char line[256];
        while (!kilobytes && fgets(line, sizeof line, file))
            if (sscanf(line, "VmHWM: %lld kB", &kilobytes) != 1) kilobytes = 0;
        fclose(file);
    }
    if (kilobytes > 0) return kilobytes * 1024;

    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage)) return 0;
#ifdef __APPLE__
    return usage.ru_maxrss;
#else
    return (int64_t)usage.ru_maxrss * 1024;
#endif
}

int64_t fl_physical_bytes(void)
{
    int64_t pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    int64_t machine = pages > 0 && page > 0 ? pages * page : 0;
    int64_t group = fl_cgroup_memory_bytes("");
    return machine == 0 || group < machine ? group : machine;
}
