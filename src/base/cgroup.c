#include "base/cgroup.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_CAPACITY 4096

/* First line of root + place + path + name, without its newline. */
static bool read_line(const char *root, const char *place, const char *path, const char *name, char *line,
                      size_t capacity)
{
    char full[PATH_CAPACITY];
    int length = snprintf(full, sizeof full, "%s%s%s/%s", root, place, path, name);
    if (length < 0 || (size_t)length >= sizeof full) return false;
    FILE *file = fopen(full, "re");
    if (!file) return false;
    bool got = fgets(line, (int)capacity, file) != NULL;
    fclose(file);
    if (got) line[strcspn(line, "\n")] = 0;
    return got;
}

/* The group of this process in the hierarchy of a version 1 controller, or of version 2 (controller ""). */
static bool group_path(const char *root, const char *controller, char *out, size_t capacity)
{
    char line[PATH_CAPACITY];
    if ((size_t)snprintf(line, sizeof line, "%s/proc/self/cgroup", root) >= sizeof line) return false;
    FILE *file = fopen(line, "re");
    if (!file) return false;
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) { /* id:controller,controller:path */
        line[strcspn(line, "\n")] = 0;
        char *names = strchr(line, ':');
        char *path = names ? strchr(names + 1, ':') : NULL;
        if (!path) continue;
        *names++ = 0;
        *path++ = 0;
        bool matches = *controller == 0 && *names == 0;
        char *rest = NULL;
        for (char *name = strtok_r(names, ",", &rest); name && !matches; name = strtok_r(NULL, ",", &rest))
            matches = *controller && strcmp(name, controller) == 0;
        if (!matches) continue;
        if (strcmp(path, "/") == 0) path = "";
        found = (size_t)snprintf(out, capacity, "%s", path) < capacity;
    }
    fclose(file);
    return found;
}

/* Step to the parent group; false above the root. */
static bool parent(char *path)
{
    char *slash = strrchr(path, '/');
    if (!slash) return false;
    *slash = 0;
    return true;
}

int64_t fl_cgroup_memory_bytes(const char *root)
{
    static const struct {
        const char *controller, *place, *name;
    } places[] = {{"", "/sys/fs/cgroup", "memory.max"}, {"memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"}};
    int64_t least = INT64_MAX;
    char path[PATH_CAPACITY], line[64];
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (!group_path(root, places[i].controller, path, sizeof path)) continue;
        do {
            if (!read_line(root, places[i].place, path, places[i].name, line, sizeof line)) continue;
            char *end;
            long long limit = strtoll(line, &end, 10); /* "max" has no digits */
            if (end != line && limit > 0 && limit < least) least = limit;
        } while (parent(path));
    }
    return least;
}

double fl_cgroup_processors(const char *root)
{
    double least = 0;
    char path[PATH_CAPACITY], line[64], period_line[64];
    if (group_path(root, "", path, sizeof path)) {
        do {
            double quota, period;
            if (read_line(root, "/sys/fs/cgroup", path, "cpu.max", line, sizeof line) &&
                sscanf(line, "%lf %lf", &quota, &period) == 2 && quota > 0 && period > 0 &&
                (least == 0 || quota / period < least))
                least = quota / period;
        } while (parent(path));
    }
    if (group_path(root, "cpu", path, sizeof path)) {
        do {
            if (!read_line(root, "/sys/fs/cgroup/cpu", path, "cpu.cfs_quota_us", line, sizeof line) ||
                !read_line(root, "/sys/fs/cgroup/cpu", path, "cpu.cfs_period_us", period_line, sizeof period_line))
                continue;
            double quota = strtod(line, NULL), period = strtod(period_line, NULL);
            if (quota > 0 && period > 0 && (least == 0 || quota / period < least)) least = quota / period;
        } while (parent(path));
    }
    return least;
}
