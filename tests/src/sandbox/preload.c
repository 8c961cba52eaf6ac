/* What a sandbox cannot have by itself: a clock of its own, and a power cut at a chosen write.
 *
 * Preloaded into the agent (ld.so(8), LD_PRELOAD). UNBOX_CLOCK_OFFSET_S moves the wall clock by so many
 * seconds; UNBOX_CUT_AT=N kills the process just before its Nth change of a file or folder, and
 * UNBOX_CUT_COUNT names a file that gets one byte for each such change.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = NEXT(clock_gettime)(clock, time);
    if (result == 0 && clock == CLOCK_REALTIME)
        time->tv_sec += number("UNBOX_CLOCK_OFFSET_S");
    return result;
}

static void change(void) {
    static long done;
    const char *count = getenv("UNBOX_CUT_COUNT");
    long at = number("UNBOX_CUT_AT"), now = __atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
    if (at && now >= at)
        kill(getpid(), SIGKILL);
    if (count) {
        int file = NEXT(open)(count, O_WRONLY | O_APPEND | O_CREAT, 0600);
        if (file >= 0) {
            NEXT(write)(file, "x", 1);
            close(file);
        }
    }
}

static int is_file(int fd) {
    struct stat status;
    return fd > 2 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

ssize_t write(int fd, const void *bytes, size_t size) {
    if (is_file(fd))
        change();
    return NEXT(write)(fd, bytes, size);
}

int ftruncate64(int fd, off64_t size) {
    change();
    return NEXT(ftruncate64)(fd, size);
}

int rename(const char *from, const char *to) {
    change();
    return NEXT(rename)(from, to);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    change();
    return NEXT(renameat)(from_dir, from, to_dir, to);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned int flags) {
    change();
    return NEXT(renameat2)(from_dir, from, to_dir, to, flags);
}

int unlink(const char *path) {
    change();
    return NEXT(unlink)(path);
}

int unlinkat(int dir, const char *path, int flags) {
    change();
    return NEXT(unlinkat)(dir, path, flags);
}

int mkdir(const char *path, mode_t mode) {
    change();
    return NEXT(mkdir)(path, mode);
}

int mkdirat(int dir, const char *path, mode_t mode) {
    change();
    return NEXT(mkdirat)(dir, path, mode);
}

int symlink(const char *to, const char *path) {
    change();
    return NEXT(symlink)(to, path);
}

int symlinkat(const char *to, int dir, const char *path) {
    change();
    return NEXT(symlinkat)(to, dir, path);
}

int fchmod(int fd, mode_t mode) {
    change();
    return NEXT(fchmod)(fd, mode);
}

int fchownat(int dir, const char *path, uid_t user, gid_t group, int flags) {
    change();
    return NEXT(fchownat)(dir, path, user, group, flags);
}
