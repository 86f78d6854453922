/* A program with many ways to live and die, for test_moments.py: the first argument names one. Each
 * prints what the test compares; none knows whether it is recorded. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef WITH_LIBRARY /* not where the library is made for a sanitizer, which this program is not */
#include <heapsnap/capture.h>
#endif

extern char **environ;

static void sleep_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

static uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int number(char **argv, int fallback) {
    return argv[2] ? atoi(argv[2]) : fallback;
}

__attribute__((noinline)) static void *planted_blocks(size_t n, size_t size) {
    void **list = NULL;
    for (size_t i = 0; i < n; i++) {
        void **const block = malloc(size);
        block[0] = list;
        list = block;
    }
    return list;
}

static void *volatile kept, *volatile kept_too;

static int plain(char **argv) {
    kept = planted_blocks(1000, 48);
    puts("plain");
    return 7;
}

static int idle(char **argv) {
    kept = planted_blocks(1000, 48);
    puts("ready");
    fflush(stdout);
    const uint64_t end = now_ms() + (uint64_t)number(argv, 2000);
    while (now_ms() < end)
        sleep_ms(20);
    puts("end");
    return 0;
}

/* --- threads: some sleep, some run, one blocks every signal --- */

static _Atomic int stop;

static void *run_thread(void *unused) {
    volatile unsigned x = 0;
    while (!stop)
        x++;
    return NULL;
}

static pthread_mutex_t sleepers_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned n_asleep; /* under the lock, which is free again when they sleep */
static _Atomic int is_deaf;

static void *sleep_thread(void *unused) {
    static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
    pthread_mutex_lock(&sleepers_lock);
    n_asleep++;
    while (!stop)
        pthread_cond_wait(&never, &sleepers_lock);
    return NULL;
}

static void *deaf_thread(void *unused) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    is_deaf = 1;
    return run_thread(unused);
}

static int threads(char **argv) {
    pthread_t t;
    for (int i = 0; i < 2; i++)
        pthread_create(&t, NULL, sleep_thread, NULL);
    pthread_create(&t, NULL, run_thread, NULL);
    pthread_setname_np(t, "runner");
    pthread_create(&t, NULL, deaf_thread, NULL);
    pthread_setname_np(t, "deaf");
    for (unsigned n = 0; n < 2 || !is_deaf; sleep_ms(1)) {
        pthread_mutex_lock(&sleepers_lock);
        n = n_asleep;
        pthread_mutex_unlock(&sleepers_lock);
    }
    puts("ready");
    fflush(stdout);
    sleep_ms(number(argv, 1500));
    stop = 1;
    puts("end");
    return 0;
}

/* Allocates without pause while snapshots are taken; ends with a count that must be right. */
static void *churn_thread(void *result) {
    void *blocks[64] = {0};
    unsigned long sum = 0, seed = (unsigned long)(size_t)result;
    while (!stop)
        for (int i = 0; i < 1000; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            const unsigned k = seed >> 33 & 63;
            free(blocks[k]);
            const size_t size = 16 + (seed >> 40 & 255);
            unsigned char *const p = blocks[k] = malloc(size);
            memset(p, (int)k, size);
            sum += p[size - 1] == k;
        }
    for (int i = 0; i < 64; i++)
        free(blocks[i]);
    return (void *)sum;
}

static int churn(char **argv) {
    pthread_t t[4];
    puts("ready");
    fflush(stdout);
    for (size_t i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, churn_thread, (void *)(i + 1));
    sleep_ms(number(argv, 2000));
    stop = 1;
    unsigned long sum = 0;
    for (size_t i = 0; i < 4; i++) {
        void *part;
        pthread_join(t[i], &part);
        sum += (unsigned long)part % 1000;
    }
    printf("wrong %lu\n", sum);
    return 0;
}

/* --- sleeps that a signal would cut short --- */

static long n_interrupted;

static void *nanosleep_thread(void *unused) {
    while (!stop) {
        const struct timespec t = {0, 300000000};
        if (nanosleep(&t, NULL) != 0)
            __atomic_add_fetch(&n_interrupted, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void *poll_thread(void *unused) {
    while (!stop)
        if (poll(NULL, 0, 300) < 0)
            __atomic_add_fetch(&n_interrupted, 1, __ATOMIC_RELAXED);
    return NULL;
}

static volatile sig_atomic_t n_alarms;

static void on_alarm(int signal) {
    n_alarms++;
}

static int eintr(char **argv) {
    pthread_t t[6];
    for (int i = 0; i < 6; i++)
        pthread_create(&t[i], NULL, i % 2 ? nanosleep_thread : poll_thread, NULL);
    puts("ready");
    fflush(stdout);
    /* The one that may be hit: its system call is restarted. */
    char c;
    while (read(STDIN_FILENO, &c, 1) < 0)
        n_interrupted += 1000;
    stop = 1;
    for (int i = 0; i < 6; i++)
        pthread_join(t[i], NULL);
    printf("interrupted %ld\n", n_interrupted);
    return 0;
}

/* Sleeps so brief, with so many beside them, that a snapshot finds threads about to sleep and
 * threads that have been woken and wait for a processor. None may be cut short, none may end before
 * its time. */
struct brief {
    struct timespec t, end; /* relative, absolute */
    long ms;
    int epoll, socket;
    sem_t semaphore;
    sigset_t never;
};

static int by_nanosleep(struct brief *b) {
    return nanosleep(&b->t, NULL);
}

static int by_nanosleep_with_rest(struct brief *b) {
    return nanosleep(&b->t, &b->t);
}

static int by_poll(struct brief *b) {
    return poll(NULL, 0, (int)b->ms);
}

static int by_ppoll(struct brief *b) {
    return ppoll(NULL, 0, &b->t, NULL);
}

static int by_select(struct brief *b) {
    struct timeval t = {0, b->ms * 1000};
    return select(0, NULL, NULL, NULL, &t);
}

static int by_epoll(struct brief *b) {
    struct epoll_event event;
    return epoll_wait(b->epoll, &event, 1, (int)b->ms);
}

static int by_semaphore(struct brief *b) {
    return sem_clockwait(&b->semaphore, CLOCK_MONOTONIC, &b->end);
}

static int by_sigtimedwait(struct brief *b) {
    return sigtimedwait(&b->never, NULL, &b->t);
}

static int by_recv(struct brief *b) {
    const struct timeval t = {0, b->ms * 1000};
    char c;
    b->ms = 0; /* ticks of the kernel are counted, of which the first is short */
    setsockopt(b->socket, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    return (int)recv(b->socket, &c, 1, 0);
}

static struct {
    const char *name;
    int (*sleep)(struct brief *b);
    long n_cut, n_short;
} brief_kinds[] = {
    {"nanosleep", by_nanosleep},
    {"nanosleep with rest", by_nanosleep_with_rest},
    {"poll", by_poll},
    {"ppoll", by_ppoll},
    {"select", by_select},
    {"epoll_wait", by_epoll},
    {"sem_clockwait", by_semaphore},
    {"sigtimedwait", by_sigtimedwait},
    {"recv", by_recv},
};
enum { N_BRIEF = sizeof brief_kinds / sizeof *brief_kinds };

static void *brief_thread(void *argument) {
    const size_t kind = (size_t)argument % N_BRIEF;
    uint64_t random = (size_t)argument + 1;
    struct brief b = {.epoll = epoll_create1(0)};
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
        abort();
    b.socket = ends[0];
    sem_init(&b.semaphore, 0, 0);
    sigemptyset(&b.never);
    sigaddset(&b.never, SIGURG);
    pthread_sigmask(SIG_BLOCK, &b.never, NULL);
    while (!stop) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        b.ms = 1 + (long)(random >> 61);
        b.t = (struct timespec){0, b.ms * 1000000};
        struct timespec start, end;
        clock_gettime(CLOCK_MONOTONIC, &start);
        b.end = start;
        b.end.tv_nsec += b.t.tv_nsec;
        if (b.end.tv_nsec >= 1000000000) {
            b.end.tv_nsec -= 1000000000;
            b.end.tv_sec++;
        }
        const int cut = brief_kinds[kind].sleep(&b) < 0 && errno == EINTR;
        clock_gettime(CLOCK_MONOTONIC, &end);
        const long slept = (end.tv_sec - start.tv_sec) * 1000000000 + end.tv_nsec - start.tv_nsec;
        if (cut)
            __atomic_add_fetch(&brief_kinds[kind].n_cut, 1, __ATOMIC_RELAXED);
        else if (slept < b.ms * 1000000)
            __atomic_add_fetch(&brief_kinds[kind].n_short, 1, __ATOMIC_RELAXED);
    }
    close(b.epoll);
    close(ends[0]);
    close(ends[1]);
    return NULL;
}

static void *busy_thread(void *unused) {
    while (!stop) {
        const uint64_t end = now_ms() + 4;
        while (now_ms() < end)
            ;
        sleep_ms(1);
    }
    return NULL;
}

static int brief_sleeps(char **argv) {
    enum { N_SLEEPERS = 3 * N_BRIEF, N_BUSY = 2 };
    pthread_t t[N_SLEEPERS + N_BUSY];
    for (size_t i = 0; i < N_SLEEPERS + N_BUSY; i++)
        pthread_create(&t[i], NULL, i < N_SLEEPERS ? brief_thread : busy_thread, (void *)i);
    puts("ready");
    fflush(stdout);
    char c;
    while (read(STDIN_FILENO, &c, 1) < 0)
        brief_kinds[0].n_cut += 1000;
    stop = 1;
    for (size_t i = 0; i < N_SLEEPERS + N_BUSY; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < N_BRIEF; i++)
        printf("%s: %ld %ld\n", brief_kinds[i].name, brief_kinds[i].n_cut, brief_kinds[i].n_short);
    return 0;
}

/* One thread, which sleeps in one way, so many seconds and a half: it is the one that a request has
 * to wake. */
static int sleep_alone(char **argv) {
    const char *const how = argv[2] ? argv[2] : "";
    const int seconds = argv[2] && argv[3] ? atoi(argv[3]) : 1;
    struct timespec t = {seconds, 500000000}, absolute;
    struct timeval tv = {seconds, 500000};
    struct pollfd none = {.fd = -1};
    struct itimerval timer = {.it_value = {seconds, 500000}};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    clock_gettime(CLOCK_MONOTONIC, &absolute);
    absolute.tv_sec += seconds + 1;
    puts("ready");
    fflush(stdout);
    const uint64_t start = now_ms();
    int result = -2;
    if (strcmp(how, "nanosleep") == 0)
        result = nanosleep(&t, &t);
    else if (strcmp(how, "absolute") == 0)
        result = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &absolute, NULL);
    else if (strcmp(how, "select") == 0)
        result = select(0, NULL, NULL, NULL, &tv);
    else if (strcmp(how, "ppoll") == 0)
        result = ppoll(&none, 1, &t, NULL);
    else if (strcmp(how, "sigwait") == 0) {
        sigprocmask(SIG_BLOCK, &set, NULL);
        setitimer(ITIMER_REAL, &timer, NULL);
        result = sigwaitinfo(&set, NULL) == SIGALRM ? 0 : -1;
    } else if (strcmp(how, "pause") == 0) {
        signal(SIGALRM, on_alarm);
        setitimer(ITIMER_REAL, &timer, NULL);
        pause();
        result = n_alarms == 1 ? 0 : -1;
    }
    const uint64_t slept = now_ms() - start;
    printf("%d %s\n", result, slept < (uint64_t)seconds * 1000 + 450 ? "short" : "whole");
    return 0;
}

/* A signal without SA_RESTART must end a read, also when it comes while a snapshot is taken. */
static int interrupted_reads(char **argv) {
    struct sigaction action = {0};
    int fds[2], n = 0;
    char c;
    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, NULL);
    if (pipe(fds) != 0)
        return 1;
    puts("ready");
    fflush(stdout);
    for (int i = 0; i < number(argv, 300); i++) {
        const struct itimerval timer = {.it_value = {0, 3000 + i % 7 * 1000}};
        setitimer(ITIMER_REAL, &timer, NULL);
        n += read(fds[0], &c, 1) == -1 && errno == EINTR;
    }
    printf("interrupted %d\n", n);
    return 0;
}

/* Handlers that let no signal in, ours neither: it comes when they return, to the very instruction
 * where a call has been ended by the program's signal. */
static void on_slow_alarm(int signal) {
    const uint64_t end = now_ms() + 1;
    while (now_ms() <= end)
        ;
}

static long n_not_ended;

/* Has itself signalled in 2 ms, over and over; the signal is let in only where it waits. */
static void wait_for_alarms(int n) {
    sigset_t alarm, others;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm, &others);
    struct sigevent to_this = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM};
    to_this._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &to_this, &timer) != 0)
        abort();
    for (int i = 0; n ? i < n : !stop; i++) {
        const struct itimerspec soon = {.it_value = {0, 2000000}};
        struct timespec limit = {5, 0};
        timer_settime(timer, 0, &soon, NULL);
        if (ppoll(NULL, 0, &limit, &others) == 0)
            __atomic_add_fetch(&n_not_ended, 1, __ATOMIC_RELAXED);
    }
    timer_delete(timer);
}

static void *alarmed_thread(void *unused) {
    wait_for_alarms(0);
    return NULL;
}

/* In one thread, which takes the snapshots, too, or in many. */
static int interrupted_polls(char **argv) {
    struct sigaction action = {.sa_handler = on_slow_alarm};
    pthread_t t[8];
    char c;
    sigfillset(&action.sa_mask);
    sigaction(SIGALRM, &action, NULL);
    puts("ready");
    fflush(stdout);
    if (argv[2] && strcmp(argv[2], "alone") == 0)
        wait_for_alarms(300);
    else {
        for (int i = 0; i < 8; i++)
            pthread_create(&t[i], NULL, alarmed_thread, NULL);
        while (read(STDIN_FILENO, &c, 1) < 0)
            ;
        stop = 1;
        for (int i = 0; i < 8; i++)
            pthread_join(t[i], NULL);
    }
    printf("not ended %ld\n", n_not_ended);
    return 0;
}

/* --- children --- */

static int n_sigchld;

static void on_sigchld(int signal) {
    n_sigchld++;
}

static int wait_any(char **argv) {
    signal(SIGCHLD, on_sigchld);
    puts("ready");
    fflush(stdout);
    const uint64_t end = now_ms() + (uint64_t)number(argv, 1500);
    int n_strangers = 0;
    while (now_ms() < end) {
        n_strangers += waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD;
        sleep_ms(1);
    }
    const int before = n_sigchld;
    const pid_t child = fork();
    if (child == 0)
        _exit(3);
    int status;
    const int is_own = waitpid(-1, &status, 0) == child && WEXITSTATUS(status) == 3;
    printf("strangers %d signals %d own %d then %d\n", n_strangers, before, is_own,
           wait(NULL) == -1 && errno == ECHILD);
    return 0;
}

static int ignore_children(char **argv) {
    signal(SIGCHLD, SIG_IGN);
    return idle(argv);
}

static int tree(char **argv) {
    kept = planted_blocks(100, 64);
    for (int i = 0; i < 2; i++) {
        const pid_t child = fork();
        if (child == 0) {
            kept = planted_blocks(10, 32);
            if (fork() == 0)
                exit(5);
            wait(NULL);
            exit(4);
        }
    }
    int sum = 0, status;
    while (wait(&status) > 0)
        sum += WEXITSTATUS(status);
    printf("children %d\n", sum);
    return 0;
}

/* Forks in one thread while others allocate. */
static int fork_storm(char **argv) {
    pthread_t t[2];
    for (size_t i = 0; i < 2; i++)
        pthread_create(&t[i], NULL, churn_thread, (void *)(i + 1));
    int n_wrong = 0;
    for (int i = 0; i < number(argv, 100); i++) {
        const pid_t child = fork();
        if (child == 0) {
            free(malloc(100));
            syscall(SYS_exit_group, 9);
        }
        int status;
        n_wrong += waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 9;
    }
    stop = 1;
    for (size_t i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    printf("wrong %d\n", n_wrong);
    return 0;
}

static int daemon_twice(char **argv) {
    int fds[2];
    if (pipe(fds) != 0)
        return 1;
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            for (int i = 0; i < 1024; i++)
                if (i != fds[1])
                    close(i);
            if (chdir("/") != 0)
                _exit(1);
            kept = planted_blocks(10, 1000);
            sleep_ms(300);
            exit(0); /* closes the pipe after the last file is written */
        }
        _exit(0);
    }
    wait(NULL);
    close(fds[1]);
    char c;
    const long n = read(fds[0], &c, 1);
    printf("daemon ended %ld\n", n);
    return 0;
}

static int shell(char **argv) {
    fflush(stdout);
    const int a = system("exit 3");
    FILE *const f = popen("echo from popen", "r");
    char line[64] = "";
    if (f && fgets(line, sizeof line, f))
        printf("%d %s", WEXITSTATUS(a), line);
    return f ? pclose(f) : 1;
}

static int exec_other(char **argv) {
    execl("/bin/nonexistent", "nonexistent", (char *)NULL);
    printf("errno %d\n", errno);
    fflush(stdout);
    execlp("sh", "sh", "-c", "echo \"$0 $1\"; exit 6", "zero", "one", (char *)NULL);
    return 1;
}

static int exec_chain(char **argv) {
    char left[16];
    const int n = number(argv, 30);
    if (n == 0) {
        puts("chain end");
        return 0;
    }
    snprintf(left, sizeof left, "%d", n - 1);
    sleep_ms(2);
    char *const args[] = {argv[0], argv[1], left, NULL};
    if (n % 3 == 0)
        execv("/proc/self/exe", args);
    else if (n % 3 == 1)
        execl("/proc/self/exe", argv[0], argv[1], left, (char *)NULL);
    else
        execle("/proc/self/exe", argv[0], argv[1], left, (char *)NULL, environ);
    return 1;
}

static int vfork_exec(char **argv) {
    volatile int n_good = 0;
    for (volatile int i = 0; i < 20; i++) {
        const pid_t child = vfork();
        if (child == 0) {
            if (i % 2)
                execl("/bin/true", "true", (char *)NULL);
            _exit(i % 2 ? 1 : 0);
        }
        int status;
        n_good += waitpid(child, &status, 0) == child && status == 0;
    }
    printf("good %d\n", n_good);
    return 0;
}

static int clone_raw(char **argv) {
    const long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        kept = planted_blocks(10, 32);
        _exit(8);
    }
    int status = 0;
    waitpid((pid_t)child, &status, 0);
    printf("status %d\n", WEXITSTATUS(status));
    return 0;
}

/* --- ways to end --- */

static int end_by_exit(char **argv) {
    kept = planted_blocks(10, 32);
    _exit(11);
}

static int end_by_exit_c99(char **argv) {
    _Exit(12);
}

static void at_quick_exit_said(void) {
    if (write(STDOUT_FILENO, "quick\n", 6) != 6)
        abort();
}

static int end_quickly(char **argv) {
    at_quick_exit(at_quick_exit_said);
    quick_exit(13);
}

static int crash(char **argv) {
    puts("crash");
    fflush(stdout);
    raise(SIGSEGV);
    return 0;
}

static int be_killed(char **argv) {
    puts("killed");
    fflush(stdout);
    raise(SIGTERM);
    return 0;
}

static void *exit_thread(void *unused) {
    exit(14);
}

static int end_in_thread(char **argv) {
    pthread_t t;
    pthread_create(&t, NULL, exit_thread, NULL);
    pthread_create(&t, NULL, run_thread, NULL);
    pthread_join(t, NULL);
    return 0;
}

static int end_of_main_thread(char **argv) {
    pthread_t t;
    pthread_create(&t, NULL, nanosleep_thread, NULL);
    stop = 1;
    pthread_exit(NULL);
}

/* --- signals --- */

static volatile sig_atomic_t got;

static void on_usr1(int signal) {
    got = signal;
}

static int own_handler(char **argv) {
    signal(SIGUSR1, on_usr1);
    raise(SIGUSR1);
    printf("got %d\n", got == SIGUSR1);
    return 0;
}

static int raise_usr1(char **argv) {
    kept = planted_blocks(10, 32);
    for (int i = 0; i < number(argv, 2); i++) {
        raise(SIGUSR1);
        sleep_ms(100);
    }
    puts("raised");
    return 0;
}

static int report_signals(char **argv) {
    sigset_t set, mine;
    sigfillset(&set);
    sigdelset(&set, SIGRTMAX - 7);
    sigprocmask(SIG_BLOCK, &set, &mine);
    puts("ready");
    fflush(stdout);
    for (;;) {
        siginfo_t info;
        const struct timespec t = {10, 0};
        const int signal = sigtimedwait(&set, &info, &t);
        if (signal < 0 && errno == EINTR)
            continue;
        if (signal < 0)
            return 1;
        printf("signal %d\n", signal);
        fflush(stdout);
        if (signal == SIGTERM)
            return 0;
    }
}

static int block_all(char **argv) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    return idle(argv);
}

static int small_stack(char **argv) {
    pthread_attr_t attr;
    pthread_t t;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 16384);
    if (pthread_create(&t, &attr, run_thread, NULL) != 0)
        return 98;
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL); /* so that the small one is chosen */
    return idle(argv);
}

/* --- the library's entry --- */

#ifdef WITH_LIBRARY
static int api(char **argv) {
    snap_error err = {0};
    const snap_counter counters[] = {{"samples", 1024}, {"negative", -5}};
    const snap_take_options o = {.struct_size = sizeof o,
                                 .label = "epoch 1",
                                 .step = -3,
                                 .has_step = 1,
                                 .counters = counters,
                                 .n_counters = 2,
                                 .no_fork = argv[3] != NULL};
    kept = planted_blocks(1000, 48);
    const int result = snap_take(argv[2], &o, &err);
    printf("%d %s\n", result, result ? err.message : "");
    printf("again %d\n", snap_take(argv[2], &o, &err));
    return 0;
}

/* Takes snapshots from several threads at once. */
static void *api_thread(void *n_good) {
    snap_error err;
    for (int i = 0; i < 3; i++)
        if (snap_take(NULL, NULL, &err) == 0)
            __atomic_add_fetch((int *)n_good, 1, __ATOMIC_RELAXED);
        else
            fprintf(stderr, "%s\n", err.message);
    return NULL;
}

static int api_threads(char **argv) {
    pthread_t t[3];
    int n_good = 0;
    for (int i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, api_thread, &n_good);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    printf("good %d\n", n_good);
    return 0;
}

#endif

/* Grows by steps of 16 MiB, and shrinks again, as often as said. */
static int grow(char **argv) {
    for (int round = 0; round < number(argv, 1); round++) {
        char *blocks[8];
        for (int i = 0; i < 8; i++) {
            blocks[i] = malloc(16 << 20);
            memset(blocks[i], 1, 16 << 20);
            sleep_ms(120);
        }
        for (int i = 0; i < 8; i++)
            free(blocks[i]);
        sleep_ms(300);
    }
    puts("grown");
    return 0;
}

/* --- allocations that fail --- */

/* Leaves so many bytes of address space. */
static void limit_address_space(size_t bytes) {
    struct rlimit limit;
    size_t pages = 0;
    FILE *const f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%zu", &pages) != 1)
        exit(98);
    fclose(f);
    limit.rlim_cur = limit.rlim_max = pages * 4096 + bytes;
    setrlimit(RLIMIT_AS, &limit);
}

/* Says what came of a request, errno among it. */
static void try(const char *name, void *block) {
    printf("%s: %s\n", name, block ? "fine" : strerror(errno));
    free(block);
}

__attribute__((noinline)) static void *want(size_t bytes) {
    errno = 0;
    void *const block = malloc(bytes);
    kept_too = block; /* no tail call: its frame is there */
    return block;
}

/* Fails by a limit, and says so in its own words. */
static int oom(char **argv) {
    kept = planted_blocks(1000, 48);
    limit_address_space(16 << 20);
    for (int i = 0; i < number(argv, 1); i++) {
        try("malloc", want((size_t)1 << 30));
        sleep_ms(60);
    }
    return 7;
}

static int oom_abort(char **argv) {
    kept = planted_blocks(1000, 48);
    if (!want((size_t)1 << 46))
        abort();
    return 0;
}

/* Each of the family; which one is said by the argument. */
static int oom_by(char **argv) {
    const char *const name = argv[2];
    const size_t size = (size_t)1 << 46;
    void *block = NULL;
    errno = 0;
    if (strcmp(name, "calloc") == 0)
        block = calloc(size / 16, 16);
    else if (strcmp(name, "realloc") == 0)
        block = realloc(malloc(100), size);
    else if (strcmp(name, "reallocarray") == 0)
        block = reallocarray(malloc(100), size / 16, 16);
    else if (strcmp(name, "posix_memalign") == 0)
        errno = posix_memalign(&block, 64, size);
    else if (strcmp(name, "aligned_alloc") == 0)
        block = aligned_alloc(64, size);
    else if (strcmp(name, "memalign") == 0)
        block = memalign(64, size);
    else if (strcmp(name, "valloc") == 0)
        block = valloc(size);
    else if (strcmp(name, "mmap") == 0) {
        block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        block = block == MAP_FAILED ? NULL : block;
    }
    try(name, block);
    return 0;
}

/* What fails, but not for want of memory. */
static int oom_none(char **argv) {
    volatile size_t huge = SIZE_MAX;
    void *block = NULL;
    errno = 0;
    try("SIZE_MAX", malloc(huge));
    try("overflow", calloc(huge / 2, 4));
    try("array", reallocarray(NULL, huge / 2, 4));
    try("half", malloc(huge / 2));
    errno = posix_memalign(&block, 3, 100);
    try("alignment", block);
    try("nothing", realloc(malloc(10), 0));
    block =
        mmap(NULL, (size_t)1 << 46, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    puts("end");
    return 0;
}

static void *oom_thread(void *barrier) {
    pthread_barrier_wait(barrier);
    for (int i = 0; i < 100; i++)
        free(want((size_t)1 << 46));
    return NULL;
}

static int oom_threads(char **argv) {
    pthread_t t[4];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 4);
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, oom_thread, &barrier);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    puts("end");
    return 0;
}

/* Parent and child have each their own. */
static int oom_fork(char **argv) {
    free(want((size_t)1 << 46));
    const pid_t child = fork();
    if (child == 0) {
        free(want((size_t)1 << 46));
        _exit(0);
    }
    waitpid(child, NULL, 0);
    puts("end");
    return 0;
}

/* A limit on the size of files stands in for a full disk. */
static int full_disk(char **argv) {
    const struct rlimit limit = {2000, 2000};
    kept = planted_blocks(100000, 40);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    puts("full");
    return 9;
}

static int closed_all(char **argv) {
    puts("closing");
    fflush(stdout);
    for (int i = 0; i < 1024; i++)
        close(i);
    kept = planted_blocks(10, 32);
    return 0;
}

static int lost_pipe(char **argv) {
    /* Whoever reads our output must see its end when we close it, not when a copy ends. */
    puts("ready");
    fflush(stdout);
    sleep_ms(400);
    close(STDOUT_FILENO);
    sleep_ms(number(argv, 3000));
    return 0;
}

static const struct {
    const char *name;
    int (*run)(char **argv);
} modes[] = {
    {"plain", plain},
    {"idle", idle},
    {"threads", threads},
    {"churn", churn},
    {"eintr", eintr},
    {"brief-sleeps", brief_sleeps},
    {"sleep-alone", sleep_alone},
    {"interrupted-reads", interrupted_reads},
    {"interrupted-polls", interrupted_polls},
    {"wait", wait_any},
    {"ignore-children", ignore_children},
    {"tree", tree},
    {"fork-storm", fork_storm},
    {"daemon", daemon_twice},
    {"shell", shell},
    {"exec", exec_other},
    {"exec-chain", exec_chain},
    {"vfork", vfork_exec},
    {"clone", clone_raw},
    {"_exit", end_by_exit},
    {"_Exit", end_by_exit_c99},
    {"quick_exit", end_quickly},
    {"crash", crash},
    {"killed", be_killed},
    {"thread-exit", end_in_thread},
    {"main-thread-exit", end_of_main_thread},
    {"own-handler", own_handler},
    {"usr1", raise_usr1},
    {"signals", report_signals},
    {"block-all", block_all},
    {"small-stack", small_stack},
#ifdef WITH_LIBRARY
    {"api", api},
    {"api-threads", api_threads},
#endif
    {"grow", grow},
    {"oom", oom},
    {"oom-abort", oom_abort},
    {"oom-by", oom_by},
    {"oom-none", oom_none},
    {"oom-threads", oom_threads},
    {"oom-fork", oom_fork},
    {"full-disk", full_disk},
    {"closed", closed_all},
    {"lost-pipe", lost_pipe},
};

int main(int argc, char **argv) {
    for (size_t i = 0; argc > 1 && i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, argv[1]) == 0)
            return modes[i].run(argv);
    fprintf(stderr, "victim: no such way to live\n");
    return 99;
}
