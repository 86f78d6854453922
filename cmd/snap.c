/* The main command: finds the verb and hands over. The table below is the only list of verbs; help
 * is printed from it. */
#include <stdio.h>
#include <string.h>

#include "opt.h"
#include "verbs.h"

struct verb {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
};

/* In the order in which they are used. */
static const struct verb verbs[] = {
#ifdef HAVE_CAPTURE
    {"run", snap_run_main, "run a program and take snapshots of it"},
    {"take", snap_take_main, "ask a running program for a snapshot"},
#endif
    {"show", snap_show_main, "print what a snapshot holds"},
    {"paths", snap_paths_main, "print who holds given blocks"},
    {"verify", snap_verify_main, "check that snapshots are whole and follow the format"},
    {"convert", snap_convert_main, "write a snapshot in another format"},
    {"repair", snap_repair_main, "save what is left of a truncated or damaged snapshot"},
    {"redact", snap_redact_main, "write a snapshot that does not tell whose it is"},
    {NULL, NULL, NULL},
};

static void print_help(FILE *out) {
    fprintf(out,
            "Usage: %s VERB [OPTION]... [ARGUMENT]...\n"
            "Take snapshots of the memory of programs, and look into them.\n\nVerbs:\n",
            opt_program());
    for (const struct verb *v = verbs; v->name; v++)
        fprintf(out, "  %-10s %s\n", v->name, v->summary);
    fprintf(out,
            "\n'%s VERB --help' tells about one. snapdiff(1) compares snapshots.\n"
            "Exit status: 0 fine; 1 something was found; 2 trouble.\n",
            opt_program());
}

int main(int argc, char **argv) {
    static const struct opt_command command = {.name = ""};

    if (argc < 2) {
        print_help(stderr);
        return EXIT_TROUBLE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0) {
        opt_print_version(stdout);
        return opt_close_output(&command);
    }
    int only_help = 0;
    if (strcmp(name, "help") == 0 && argc > 2) {
        name = argv[2];
        only_help = 1;
    } else if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 ||
               strcmp(name, "-h") == 0) {
        print_help(stdout);
        return opt_close_output(&command);
    }
    for (const struct verb *v = verbs; v->name; v++) {
        if (strcmp(v->name, name) != 0)
            continue;
        char help[] = "--help";
        char *help_argv[] = {argv[1], help, NULL};
        return only_help ? v->run(2, help_argv) : v->run(argc - 1, argv + 1);
    }
    return opt_usage_error(&command, *name == '-' ? "unknown option '%s'" : "unknown verb '%s'",
                           name);
}
