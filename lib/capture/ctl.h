/* The control page: a small file that a tracked process maps shared, by which other processes of
 * the same user ask it for snapshots and hear how that went.
 *
 * The file is DIRECTORY/RUN.PID.ctl, removed when the process ends. Both sides are built together
 * (the version says so); still neither trusts what it reads: texts are bounded, numbers are
 * checked.
 *
 * One request at a time: whoever asks holds flock() on the file, writes the request, increments
 * `asked`, sends the control signal, and waits until `answered` has caught up. */
#ifndef HEAPSNAP_CTL_H
#define HEAPSNAP_CTL_H

#include <stdatomic.h>
#include <stdint.h>

#define CTL_MAGIC 0x314c5443534e5348ull /* "HSNSCTL1" */
#define CTL_VERSION 1u
#define CTL_TEXT_MAX 256
#define CTL_PATH_SIZE 4096
#define CTL_SUFFIX ".ctl"

enum ctl_state {
    CTL_STARTING,
    CTL_READY,   /* answers requests */
    CTL_LEAVING, /* in exit or exec */
};

enum ctl_answer {
    CTL_PENDING,
    CTL_ACCEPTED, /* the copy is made, the file is being written */
    CTL_WRITTEN,  /* path names the file */
    CTL_FAILED    /* message says why */
};

/* Flags of a request. */
enum { CTL_OVERWRITE = 1, CTL_NO_FORK = 2, CTL_HAS_STEP = 4, CTL_NO_EDGES = 8 };

/* Where the signalled thread slept, as /proc said just before: number and arguments of the system
 * call, stack pointer, address. Kept so that its sleep can go on (resume.h). tid 0: unknown. */
enum { CTL_RAN = -2 }; /* in place of a number: it was in no system call */
struct ctl_sleep {
    int32_t tid;
    int32_t number;
    uint64_t arguments[6], sp, pc;
};

struct ctl_request {
    struct ctl_sleep sleep;
    uint32_t trigger; /* SNAP_TRIGGER_* */
    uint32_t flags;
    int64_t step;
    uint64_t pss_bytes, private_dirty_bytes; /* measured by whoever asks; 0: not */
    char label[CTL_TEXT_MAX];
    char path[CTL_PATH_SIZE]; /* a pattern; "": the process's own */
};

struct ctl_response {
    _Atomic uint32_t answer; /* enum ctl_answer */
    int32_t child_pid;       /* that writes; as the process sees it */
    int32_t code;            /* of a failure: SNAP_E_* */
    uint32_t reserved;
    _Atomic uint64_t progress;
    char message[CTL_TEXT_MAX];
    char path[CTL_PATH_SIZE];
};

struct ctl_page {
    uint64_t magic;
    uint32_t version, size;
    int32_t pid; /* as the process sees itself */
    int32_t signal;
    _Atomic uint32_t state;
    uint32_t reserved;
    _Atomic uint32_t n_taken;  /* snapshots so far */
    _Atomic uint32_t asked;    /* number of the newest request */
    _Atomic uint32_t answered; /* number of the request that response belongs to, when complete */
    uint32_t reserved2;
    struct ctl_request request;
    struct ctl_response response;
};

/* --- in the tracked process; async-signal-safe unless stated otherwise --- */

/* Creates and maps the page of this process; NULL if that cannot be (then the process is tracked,
 * but cannot be asked). *out_path gets the file's name. */
struct ctl_page *ctl_create(const char *directory, const char *run, int signal, char *out_path,
                            uint32_t path_size);
void ctl_remove(struct ctl_page *page, const char *path);

#endif
