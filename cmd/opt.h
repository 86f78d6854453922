/* Command lines: one table per command, from which options are parsed and help is printed.
 *
 *     static const char *output;
 *     static uint64_t top = 20;
 *     static const struct opt options[] = {
 *         {OPT_TEXT, 'o', "output", "FILE", &output, "write to FILE"},
 *         {OPT_NUMBER, 0, "top", "N", &top, "show the N largest"},
 *         {OPT_END},
 *     };
 *     static const struct opt_command command = {
 *         .name = "show", .arguments = "FILE", .summary = "print what a snapshot holds", .options =
 * options};
 *
 *     int first, status;
 *     if (!opt_parse(&command, argc, argv, &first, &status))
 *         return status;
 *
 * --help (-h) and --version are understood by every command. Options may stand among the arguments
 * unless the command says otherwise, and may be abbreviated where that is unambiguous; `--` ends
 * them. Values start out as the defaults that the caller gave them. */
#ifndef HEAPSNAP_OPT_H
#define HEAPSNAP_OPT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Exit status of every command, after diff(1). */
enum { EXIT_SAME = 0, EXIT_FOUND = 1, EXIT_TROUBLE = 2 };

enum opt_kind {
    OPT_END = 0,
    OPT_FLAG,    /* int: becomes 1 */
    OPT_TEXT,    /* const char *: borrowed from argv */
    OPT_NUMBER,  /* uint64_t: decimal */
    OPT_INTEGER, /* int64_t: decimal, with sign */
    OPT_SIZE,    /* uint64_t: bytes, with K, M, G or T for powers of 1024 */
    OPT_TIME,    /* uint64_t: nanoseconds, from seconds with a fraction, or with ms, s, m, h */
    OPT_CHOICE,  /* int: index into choices */
    OPT_LIST,    /* struct opt_list: may be given many times */
    OPT_HEADING  /* no option: a heading in the help, in `help` */
};

#define OPT_LIST_MAX 64
struct opt_list {
    size_t n;
    const char *items[OPT_LIST_MAX]; /* borrowed from argv */
};

struct opt {
    enum opt_kind kind;
    char letter;                /* 0: none */
    const char *name;           /* long name; NULL: only the letter */
    const char *argument;       /* its name in the help; NULL for flags */
    void *value;                /* as the kind says */
    const char *help;           /* one or more lines; no full stop */
    const char *const *choices; /* OPT_CHOICE: ends with NULL */
    int *given;                 /* NULL, or becomes 1 when the option occurs */
};

struct opt_command {
    const char *name;          /* verb of snap; with `is_program` a program's name */
    const char *arguments;     /* after the options in the usage line */
    const char *summary;       /* one line, lower case, no full stop */
    const struct opt *options; /* ends with OPT_END; NULL: none */
    const char *details;       /* paragraphs after the options; NULL: none */
    int is_program;            /* 1: name is a program, not a verb */
    int stop_at_argument;      /* 1: the first argument ends the options, as in env(1) */
};

/* The name under which the main command is installed: "snap", or "heapsnap". */
const char *opt_program(void);

/* Parses argv[1..]. Returns 1, with argv reordered so that the arguments are argv[*out_first] to
 * argv[argc - 1]; or 0, when the program should end with *out_status: help was printed, or a
 * message about a wrong option. */
int opt_parse(const struct opt_command *command, int argc, char **argv, int *out_first,
              int *out_status);

void opt_print_help(const struct opt_command *command, FILE *out);
void opt_print_version(FILE *out);

/* Prints "snap VERB: message" on stderr; returns EXIT_TROUBLE. opt_usage_error adds a line that
 * points at --help. */
int opt_error(const struct opt_command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int opt_usage_error(const struct opt_command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Flushes stdout; 0, or EXIT_TROUBLE with a message when what was printed could not be written. */
int opt_close_output(const struct opt_command *command);

/* Values, as the kinds of the same names take them. 0, or -1 if the text is none. */
int opt_number(const char *text, uint64_t *out);
int opt_integer(const char *text, int64_t *out);
int opt_size(const char *text, uint64_t *out);
int opt_time(const char *text, uint64_t *out);

#endif
