#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

#define READ_STEP ((size_t)1 << 16)
#define TEMPORARY_TRIES 100

fl_status fl_file_read(fl_buffer *out, const char *path, size_t limit_bytes)
{
    FILE *file = fopen(path, "rbe");
    if (!file) return fl_fail(FL_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    fl_buffer content = {0};
    fl_buffer_append(&content, "", 0);
    fl_status status = FL_OK;
    char *step = fl_realloc(NULL, READ_STEP, 1);
    if (!step) status = FL_ERR_MEMORY;
    while (status == FL_OK) {
        size_t n = fread(step, 1, READ_STEP, file);
        if (n > limit_bytes - content.size) {
            status = fl_fail(FL_ERR_FORMAT, "%s: larger than the %zu bytes allowed here", path, limit_bytes);
            break;
        }
        fl_buffer_append(&content, step, n);
        if (content.failed) {
            status = fl_fail_within(FL_ERR_MEMORY, "%s", path);
        } else if (n < READ_STEP) {
            if (ferror(file)) status = fl_fail(FL_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
            break;
        }
    }
    fl_free(step);
    fclose(file);
    if (status == FL_OK)
        *out = content;
    else
        fl_buffer_free(&content);
    return status;
}

bool fl_file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool fl_file_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

fl_status fl_folder_make(const char *path)
{
    char *copy = fl_strdup(path);
    if (!copy) return FL_ERR_MEMORY;
    fl_status status = FL_OK;
    for (char *end = copy; status == FL_OK && *end;) {
        end += strspn(end, "/");
        end += strcspn(end, "/");
        char kept = *end;
        *end = 0;
        if (mkdir(copy, 0777) && !fl_file_is_folder(copy))
            status = fl_fail(FL_ERR_IO, "%s: cannot make the folder: %s", copy, strerror(errno));
        *end = kept;
    }
    fl_free(copy);
    return status;
}

char *fl_path_join(const char *folder, const char *name)
{
    fl_buffer path = {0};
    fl_buffer_text(&path, folder);
    if (path.size && path.data[path.size - 1] != '/') fl_buffer_text(&path, "/");
    fl_buffer_text(&path, name);
    if (path.failed) fl_buffer_free(&path);
    return path.data;
}

/* ---- writer ------------------------------------------------------------------------------------------------- */

static fl_status writer_failed(fl_writer *w, const char *action)
{
    if (w->status == FL_OK) w->status = fl_fail(FL_ERR_IO, "%s: cannot %s: %s", w->path, action, strerror(errno));
    return w->status;
}

/* An unused name beside path. O_EXCL rather than mkstemp, so that the user's umask decides the permissions. */
static int open_temporary(fl_writer *w, const struct stat *replaced)
{
    for (int i = 0; i < TEMPORARY_TRIES; i++) {
        fl_buffer name = {0};
        fl_buffer_format(&name, "%s.%ld-%d.tmp", w->path, (long)getpid(), i);
        if (name.failed) {
            fl_buffer_free(&name);
            errno = ENOMEM;
            return -1;
        }
        int descriptor = open(name.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor >= 0) {
            w->temporary = name.data;
            if (replaced && fchmod(descriptor, replaced->st_mode & 0777))
                errno = 0; /* not the owner: new permissions */
            return descriptor;
        }
        fl_buffer_free(&name);
        if (errno != EEXIST) return -1;
    }
    return -1;
}

fl_status fl_writer_open(fl_writer *w, const char *path)
{
    *w = (fl_writer){0};
    struct stat info;
    bool exists = stat(path, &info) == 0;
    if (exists && S_ISDIR(info.st_mode))
        return w->status = fl_fail(FL_ERR_IO, "%s: is a folder; name a file in it", path);
    /* The file that a link points to is replaced, not the link. */
    char *target = exists ? realpath(path, NULL) : NULL;
    w->path = fl_strdup(target ? target : path);
    free(target);
    if (!w->path) return w->status = FL_ERR_MEMORY;

    /* A device or pipe cannot be replaced by a rename: it is written as it is. */
    bool direct = exists && !S_ISREG(info.st_mode);
    int descriptor = direct ? open(path, O_WRONLY | O_CLOEXEC) : open_temporary(w, exists ? &info : NULL);
    if (descriptor < 0) {
        fl_status status = writer_failed(w, direct ? "write" : "make a file beside it");
        fl_writer_abandon(w);
        return w->status = status;
    }
    w->file = fdopen(descriptor, "wb");
    if (!w->file) {
        fl_status status = writer_failed(w, "write");
        close(descriptor);
        fl_writer_abandon(w);
        return w->status = status;
    }
    return FL_OK;
}

void fl_writer_write(fl_writer *w, const void *bytes, size_t n)
{
    if (w->status != FL_OK || n == 0) return;
    if (!w->file) {
        w->status = fl_fail(FL_ERR_STATE, "writer: written to before it was opened");
        return;
    }
    if (fwrite(bytes, 1, n, w->file) != n)
        writer_failed(w, "write");
    else
        w->written += n;
}

/* The rename itself is safe on disk only when the folder is. File systems that cannot sync a folder need not. */
static void sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? fl_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : fl_strdup(".");
    if (!folder) return;
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor >= 0) {
        (void)fsync(descriptor);
        close(descriptor);
    }
    fl_free(folder);
}

fl_status fl_writer_finish(fl_writer *w)
{
    if (w->status == FL_OK && !w->file)
        return w->status = fl_fail(FL_ERR_STATE, "writer: finished before it was opened");
    if (w->file) {
        if (w->status == FL_OK && fflush(w->file)) writer_failed(w, "write");
        if (w->status == FL_OK && w->temporary && fsync(fileno(w->file))) writer_failed(w, "sync");
        if (fclose(w->file)) writer_failed(w, "write");
        w->file = NULL;
    }
    if (w->status == FL_OK && w->temporary) {
        if (rename(w->temporary, w->path)) {
            writer_failed(w, "put the new file in its place");
        } else {
            sync_folder(w->path);
            fl_free(w->temporary);
            w->temporary = NULL;
        }
    }
    fl_status status = w->status;
    fl_writer_abandon(w);
    return status;
}

void fl_writer_abandon(fl_writer *w)
{
    if (w->file) fclose(w->file);
    if (w->temporary) unlink(w->temporary);
    fl_free(w->temporary);
    fl_free(w->path);
    *w = (fl_writer){0};
}

/* ---- appender ----------------------------------------------------------------------------------------------- */

static fl_status appender_failed(const fl_appender *a, const char *action)
{
    return fl_fail(FL_ERR_IO, "%s: cannot %s: %s", a->path, action, strerror(errno));
}

static fl_status end_last_line(fl_appender *a, const struct stat *info)
{
    char last = '\n';
    if (info->st_size > 0 && pread(a->descriptor, &last, 1, info->st_size - 1) != 1) return appender_failed(a, "read");
    return last == '\n' ? FL_OK : fl_appender_write(a, "\n", 1);
}

fl_status fl_appender_open(fl_appender *a, const char *path, bool lines)
{
    *a = FL_APPENDER_CLOSED;
    if (!(a->path = fl_strdup(path))) return FL_ERR_MEMORY;
    struct stat info;
    fl_status status = FL_OK;
    a->descriptor = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (a->descriptor < 0 || fstat(a->descriptor, &info))
        status = appender_failed(a, "be opened for appending");
    else if (lines && S_ISREG(info.st_mode))
        status = end_last_line(a, &info);
    if (status == FL_OK) return FL_OK;
    if (a->descriptor >= 0) close(a->descriptor);
    fl_free(a->path);
    *a = FL_APPENDER_CLOSED;
    return status;
}

fl_status fl_appender_write(fl_appender *a, const void *bytes, size_t n)
{
    if (a->descriptor < 0) return fl_fail(FL_ERR_STATE, "appender: written to before it was opened");
    for (size_t done = 0; done < n;) {
        ssize_t written = write(a->descriptor, (const char *)bytes + done, n - done);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            fl_status status = appender_failed(a, "write");
            off_t end = lseek(a->descriptor, 0, SEEK_END);
            int taken_back = end >= (off_t)done ? ftruncate(a->descriptor, end - (off_t)done) : -1;
            (void)taken_back; /* a device or pipe cannot */
            return status;
        }
        done += (size_t)written;
    }
    return FL_OK;
}

fl_status fl_appender_close(fl_appender *a, fl_status before)
{
    if (a->descriptor < 0) return before;
    fl_status status = before;
    if (status == FL_OK && fsync(a->descriptor) && errno != EINVAL && errno != EROFS) /* as of a pipe */
        status = appender_failed(a, "sync");
    if (close(a->descriptor) && status == FL_OK) status = appender_failed(a, "write");
    fl_free(a->path);
    *a = FL_APPENDER_CLOSED;
    return status;
}
