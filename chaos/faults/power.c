/* Preloaded into every process of a run: writes down how to undo what no fsync has made durable yet.
 *
 * Before a change to a file below $POWER_PREFIX, the bytes that it replaces are appended to $POWER_LOG/undo;
 * an fsync is appended as well. After a power loss (kill -9 of everything) `power.py` goes through the file
 * backwards and undoes what no later fsync covers. Contents become durable by an fsync of their own file,
 * names by any later fsync, as a journalling file system (ext4, xfs) has it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, SYNC, CREATE, RENAME, UNLINK };

struct record {
    uint32_t kind, first, second, reserved; /* lengths of two paths (or, of the second, a saved file's name) */
    uint64_t inode, offset, length, size;   /* `length` bytes follow the paths; `size` of the file before */
};

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const char *prefix(void) { return getenv("POWER_PREFIX"); }

static int tracked(const char *path) {
    const char *wanted = prefix();
    return wanted && path && strncmp(path, wanted, strlen(wanted)) == 0;
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return tracked(path);
}

static int absolute(const char *path, char *full) {
    if (!path || !prefix()) return 0;
    if (path[0] == '/') snprintf(full, PATH_MAX, "%s", path);
    else {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) return 0;
        if ((size_t)snprintf(full, PATH_MAX, "%s/%s", here, path) >= PATH_MAX) return 0;
    }
    return tracked(full);
}

static void note(struct record *record, const char *first, const char *second, const void *bytes) {
    char path[PATH_MAX];
    int saved = errno;
    snprintf(path, sizeof path, "%s/undo", getenv("POWER_LOG"));
    int fd = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0) {
        record->first = strlen(first);
        record->second = strlen(second);
        struct iovec parts[] = {
            {record, sizeof *record},
            {(void *)first, record->first},
            {(void *)second, record->second},
            {(void *)bytes, record->length},
        };
        if (writev(fd, parts, 4) < 0) abort();
        close(fd);
    }
    errno = saved;
}

/* What stands at `offset` now, and how large the file is. */
static void before_write(int fd, off_t offset, size_t length) {
    char path[PATH_MAX], again[64];
    struct stat about;
    if (fstat(fd, &about) || !S_ISREG(about.st_mode) || !path_of(fd, path)) return;
    struct record record = {.kind = WRITE, .inode = about.st_ino, .size = about.st_size};
    int flags = fcntl(fd, F_GETFL);
    if (flags & O_APPEND) offset = about.st_size;
    else if (offset < 0) offset = lseek(fd, 0, SEEK_CUR);
    record.offset = offset;
    if (offset < about.st_size) {
        uint64_t left = about.st_size - offset;
        record.length = left < length ? left : length;
    }
    char *old = record.length ? malloc(record.length) : NULL;
    if (old) {
        /* Through this very descriptor where that can be: closing another one of the same file would let go
         * of the locks that SQLite holds on it (fcntl(2), "record locks"). */
        int writes_only = (flags & O_ACCMODE) == O_WRONLY;
        snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
        int reading = writes_only ? REAL(open)(again, O_RDONLY | O_CLOEXEC) : fd;
        ssize_t got = reading < 0 ? -1 : pread(reading, old, record.length, offset);
        if (writes_only && reading >= 0) close(reading);
        if (got < 0 || (uint64_t)got != record.length) record.length = 0;
    }
    note(&record, path, "", old);
    free(old);
}

static void after_sync(int fd) {
    char path[PATH_MAX];
    struct stat about;
    if (fstat(fd, &about) || !path_of(fd, path)) return;
    struct record record = {.kind = SYNC, .inode = about.st_ino};
    note(&record, path, "", NULL);
}

/* Keep what has this name, so that it can have it again. */
static void save(const char *path, char *name) {
    static int number;
    char aside[PATH_MAX];
    snprintf(name, 64, "%d-%d", getpid(), __sync_add_and_fetch(&number, 1));
    snprintf(aside, sizeof aside, "%s/%s", getenv("POWER_LOG"), name);
    if (REAL(linkat)(AT_FDCWD, path, AT_FDCWD, aside, 0)) name[0] = 0;
}

static void before_gone(const char *path) {
    char full[PATH_MAX], name[64];
    if (!absolute(path, full)) return;
    save(full, name);
    struct record record = {.kind = UNLINK};
    if (name[0]) note(&record, full, name, NULL);
}

static void created(const char *path) {
    char full[PATH_MAX];
    struct record record = {.kind = CREATE};
    if (absolute(path, full)) note(&record, full, "", NULL);
}

ssize_t write(int fd, const void *data, size_t length) {
    if (prefix() && fd > 2) before_write(fd, -1, length);
    return REAL(write)(fd, data, length);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    if (prefix()) before_write(fd, offset, length);
    return REAL(pwrite)(fd, data, length, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    if (prefix()) before_write(fd, offset, length);
    return REAL(pwrite64)(fd, data, length, offset);
}

int ftruncate(int fd, off_t length) {
    struct stat about;
    if (prefix() && !fstat(fd, &about)) before_write(fd, length < about.st_size ? length : about.st_size, about.st_size);
    return REAL(ftruncate)(fd, length);
}

int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

int fsync(int fd) {
    int done = REAL(fsync)(fd);
    if (!done && prefix()) after_sync(fd);
    return done;
}

int fdatasync(int fd) {
    int done = REAL(fdatasync)(fd);
    if (!done && prefix()) after_sync(fd);
    return done;
}

static int opened(int folder, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    int mine = prefix() && folder == AT_FDCWD && (flags & (O_CREAT | O_TRUNC)) && absolute(path, full);
    int there = mine && access(full, F_OK) == 0;
    if (mine && there && (flags & O_TRUNC)) {
        int fd = REAL(open)(full, O_RDWR | O_CLOEXEC);
        struct stat about;
        if (fd >= 0 && !fstat(fd, &about)) before_write(fd, 0, about.st_size);
        if (fd >= 0) close(fd);
    }
    int fd = REAL(openat)(folder, path, flags, mode);
    if (fd >= 0 && mine && !there) created(full);
    return fd;
}

#define MODE va_list rest; va_start(rest, flags); mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; va_end(rest)

int open(const char *path, int flags, ...) { MODE; return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE; return opened(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE; return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE; return opened(folder, path, flags, mode); }

int rename(const char *from, const char *to) {
    char old[PATH_MAX], new[PATH_MAX];
    if (absolute(from, old) && absolute(to, new)) {
        before_gone(new);
        struct record record = {.kind = RENAME};
        note(&record, old, new, NULL);
    }
    return REAL(rename)(from, to);
}

int unlink(const char *path) {
    if (prefix()) before_gone(path);
    return REAL(unlink)(path);
}

int link(const char *from, const char *to) {
    int done = REAL(link)(from, to);
    if (!done) created(to);
    return done;
}

int symlink(const char *target, const char *path) {
    int done = REAL(symlink)(target, path);
    if (!done) created(path);
    return done;
}

/* Copies inside the kernel would go unseen: let the caller copy by hand. */
ssize_t sendfile(int out, int in, off_t *offset, size_t count) {
    char path[PATH_MAX];
    if (prefix() && path_of(out, path)) { errno = ENOTSOCK; return -1; }
    return REAL(sendfile)(out, in, offset, count);
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t count) { return sendfile(out, in, offset, count); }
