/* Parsing of command lines and printing of help, both from one table. Knows nothing of what the
 * options mean, and changes nothing but the variables that the table names. */
#include "opt.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <heapsnap/common.h>

#ifndef SNAP_COMMAND_NAME
#define SNAP_COMMAND_NAME "snap"
#endif

const char *opt_program(void) {
    return SNAP_COMMAND_NAME;
}

static void print_name(const struct opt_command *command, FILE *out) {
    if (command->is_program)
        fputs(command->name, out);
    else
        fprintf(out, "%s%s%s", opt_program(), *command->name ? " " : "", command->name);
}

static void print_message(const struct opt_command *command, const char *format, va_list ap) {
    fflush(stdout);
    print_name(command, stderr);
    fputs(": ", stderr);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
}

int opt_error(const struct opt_command *command, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    print_message(command, format, ap);
    va_end(ap);
    return EXIT_TROUBLE;
}

int opt_usage_error(const struct opt_command *command, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    print_message(command, format, ap);
    va_end(ap);
    fputs("Try '", stderr);
    print_name(command, stderr);
    fputs(" --help'.\n", stderr);
    return EXIT_TROUBLE;
}

int opt_close_output(const struct opt_command *command) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    return opt_error(command, "cannot write standard output: %s",
                     errno ? strerror(errno) : "write error");
}

int opt_number(const char *text, uint64_t *out) {
    if (!isdigit((unsigned char)*text))
        return -1;
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end)
        return -1;
    *out = value;
    return 0;
}

int opt_integer(const char *text, int64_t *out) {
    const char *const digits = text + (*text == '-' || *text == '+');
    if (!isdigit((unsigned char)*digits))
        return -1;
    char *end;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (errno || *end)
        return -1;
    *out = value;
    return 0;
}

/* A decimal number with a fraction, not negative. strtod would take "inf", "0x1" and the locale's
 * comma. */
static int decimal(const char *text, const char **out_end, double *out) {
    const char *p = text;
    double value = 0, scale = 1;
    int n_digits = 0;
    for (; isdigit((unsigned char)*p); p++, n_digits++)
        value = value * 10 + (*p - '0');
    if (*p == '.')
        for (p++; isdigit((unsigned char)*p); p++, n_digits++)
            value += (*p - '0') * (scale /= 10);
    if (n_digits == 0)
        return -1;
    *out_end = p;
    *out = value;
    return 0;
}

static int scaled(double value, double factor, uint64_t *out) {
    if (value * factor >= 18e18)
        return -1;
    *out = (uint64_t)(value * factor + 0.5);
    return 0;
}

int opt_size(const char *text, uint64_t *out) {
    const char *end;
    double value;
    if (decimal(text, &end, &value) < 0)
        return -1;
    static const char units[] = "KMGT";
    double factor = 1;
    if (*end) {
        const char *const unit = strchr(units, toupper((unsigned char)*end));
        if (unit) {
            for (const char *u = units; u <= unit; u++)
                factor *= 1024;
            end++;
            if (*end == 'i')
                end++;
        }
        if (*end == 'B' || *end == 'b')
            end++;
    }
    return *end ? -1 : scaled(value, factor, out);
}

int opt_time(const char *text, uint64_t *out) {
    const char *end;
    double value;
    if (decimal(text, &end, &value) < 0)
        return -1;
    static const struct {
        const char *unit;
        double factor;
    } units[] = {{"", 1e9}, {"s", 1e9}, {"ms", 1e6}, {"us", 1e3}, {"m", 60e9}, {"h", 3600e9}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].unit) == 0)
            return scaled(value, units[i].factor, out);
    return -1;
}

static int print_option_name(const struct opt *o, FILE *out) {
    int width = 2;
    fputs("  ", out);
    if (o->letter)
        width += fprintf(out, "-%c%s", o->letter, o->name ? ", " : "");
    else
        width += fprintf(out, "    ");
    if (o->name)
        width += fprintf(out, "--%s", o->name);
    if (o->argument)
        width += fprintf(out, "%s%s", o->name ? "=" : " ", o->argument);
    return width;
}

static void print_option(const struct opt *o, FILE *out) {
    enum { COLUMN = 28 };
    int width = print_option_name(o, out);
    if (width > COLUMN - 2) {
        fputc('\n', out);
        width = 0;
    }
    for (const char *line = o->help; line && *line;) {
        const size_t length = strcspn(line, "\n");
        fprintf(out, "%*s%.*s\n", COLUMN - width, "", (int)length, line);
        width = 0;
        line += length + (line[length] == '\n');
    }
    if (o->kind == OPT_CHOICE && o->choices) {
        fprintf(out, "%*sone of:", COLUMN, "");
        for (const char *const *c = o->choices; *c; c++)
            fprintf(out, " %s", *c);
        fputc('\n', out);
    }
}

static const struct opt common_options[] = {
    {OPT_FLAG, 'h', "help", NULL, NULL, "show this help and end"},
    {OPT_FLAG, 0, "version", NULL, NULL, "show the version and end"},
    {OPT_END},
};

void opt_print_help(const struct opt_command *command, FILE *out) {
    fputs("Usage: ", out);
    print_name(command, out);
    if (command->options)
        fputs(" [OPTION]...", out);
    if (command->arguments && *command->arguments)
        fprintf(out, " %s", command->arguments);
    if (command->summary)
        fprintf(out, "\n%c%s.\n", toupper((unsigned char)*command->summary), command->summary + 1);
    fputs("\nOptions:\n", out);
    for (const struct opt *o = command->options; o && o->kind != OPT_END; o++)
        if (o->kind == OPT_HEADING)
            fprintf(out, "\n%s:\n", o->help);
        else
            print_option(o, out);
    for (const struct opt *o = common_options; o->kind != OPT_END; o++)
        print_option(o, out);
    if (command->details)
        fprintf(out, "\n%s%s", command->details,
                command->details[strlen(command->details) - 1] == '\n' ? "" : "\n");
}

/* "(heapsnap)" tells this `snap` from others: the build looks for it. */
void opt_print_version(FILE *out) {
    fprintf(out, "%s (heapsnap) %s\n", opt_program(), snap_version());
}

static int set_value(const struct opt_command *command, const struct opt *o, const char *shown,
                     const char *text) {
    int bad = 0;
    if (o->given)
        *o->given = 1;
    switch (o->kind) {
    case OPT_FLAG: *(int *)o->value = 1; break;
    case OPT_TEXT: *(const char **)o->value = text; break;
    case OPT_NUMBER: bad = opt_number(text, o->value); break;
    case OPT_INTEGER: bad = opt_integer(text, o->value); break;
    case OPT_SIZE: bad = opt_size(text, o->value); break;
    case OPT_TIME: bad = opt_time(text, o->value); break;
    case OPT_CHOICE: {
        bad = -1;
        for (int i = 0; o->choices[i]; i++)
            if (strcmp(o->choices[i], text) == 0) {
                *(int *)o->value = i;
                bad = 0;
            }
        break;
    }
    case OPT_LIST: {
        struct opt_list *const list = o->value;
        if (list->n == OPT_LIST_MAX)
            return opt_usage_error(command, "option '%s' is given more than %d times", shown,
                                   OPT_LIST_MAX);
        list->items[list->n++] = text;
        break;
    }
    case OPT_END:
    case OPT_HEADING: break;
    }
    if (!bad)
        return 0;
    if (o->kind == OPT_CHOICE) {
        char choices[256] = "";
        for (int i = 0; o->choices[i]; i++)
            snprintf(choices + strlen(choices), sizeof choices - strlen(choices), "%s%s",
                     i ? ", " : "", o->choices[i]);
        return opt_usage_error(command, "option '%s': '%s' is none of %s", shown, text, choices);
    }
    static const char *const wanted[] = {
        [OPT_NUMBER] = "a number",
        [OPT_INTEGER] = "a whole number",
        [OPT_SIZE] = "a size such as 512M or 4G",
        [OPT_TIME] = "a time in seconds, or such as 500ms or 2m",
    };
    return opt_usage_error(command, "option '%s': '%s' is not %s", shown, text, wanted[o->kind]);
}

enum find_result { FIND_ONE, FIND_NONE, FIND_MANY };

static enum find_result find_long(const struct opt *options, const char *name, size_t length,
                                  const struct opt **out) {
    enum find_result result = *out ? FIND_ONE : FIND_NONE;
    for (const struct opt *o = options; o && o->kind != OPT_END; o++) {
        if (!o->name || strncmp(o->name, name, length) != 0)
            continue;
        if (o->name[length] == '\0') {
            *out = o;
            return FIND_ONE;
        }
        result = *out ? FIND_MANY : FIND_ONE;
        *out = o;
    }
    return result;
}

static const struct opt *find_letter(const struct opt *options, char letter) {
    for (const struct opt *o = options; o && o->kind != OPT_END; o++)
        if (o->letter && o->letter == letter && o->kind != OPT_HEADING)
            return o;
    return NULL;
}

/* 1: the option was a common one, and the program should end. */
static int common(const struct opt_command *command, const struct opt *o) {
    if (o == &common_options[0])
        opt_print_help(command, stdout);
    else if (o == &common_options[1])
        opt_print_version(stdout);
    else
        return 0;
    return 1;
}

/* One word that starts with "--". *taken: the word after it was its value. Returns 0 to go on, else
 * -1 with *out_status. */
static int parse_long(const struct opt_command *command, const char *word, const char *next,
                      int *taken, int *out_status) {
    const char *const name = word + 2;
    const size_t length = strcspn(name, "=");
    const char *text = name[length] == '=' ? name + length + 1 : NULL;
    char shown[64];
    snprintf(shown, sizeof shown, "--%.*s", (int)length, name);

    const struct opt *o = NULL;
    enum find_result found = find_long(command->options, name, length, &o);
    if (found != FIND_ONE || o->name[length]) {
        const enum find_result in_common = find_long(common_options, name, length, &o);
        if (in_common != FIND_NONE)
            found = in_common;
    }
    if (found == FIND_NONE)
        *out_status = opt_usage_error(command, "unknown option '%s'", shown);
    else if (found == FIND_MANY)
        *out_status = opt_usage_error(command, "option '%s' is ambiguous", shown);
    else if (o->kind == OPT_FLAG && text)
        *out_status = opt_usage_error(command, "option '--%s' takes no value", o->name);
    else if (common(command, o))
        *out_status = opt_close_output(command);
    else {
        snprintf(shown, sizeof shown, "--%s", o->name);
        if (o->kind != OPT_FLAG && !text) {
            text = next;
            *taken = 1;
        }
        if (o->kind != OPT_FLAG && !text)
            *out_status = opt_usage_error(command, "option '%s' needs a value", shown);
        else
            *out_status = set_value(command, o, shown, text);
        return *out_status ? -1 : 0;
    }
    return -1;
}

/* One word of letters after a '-'. */
static int parse_letters(const struct opt_command *command, const char *word, const char *next,
                         int *taken, int *out_status) {
    for (const char *p = word + 1; *p; p++) {
        const struct opt *o = find_letter(command->options, *p);
        if (!o)
            o = find_letter(common_options, *p);
        const char shown[] = {'-', *p, '\0'};
        if (!o) {
            *out_status = opt_usage_error(command, "unknown option '%s'", shown);
            return -1;
        }
        if (common(command, o)) {
            *out_status = opt_close_output(command);
            return -1;
        }
        if (o->kind == OPT_FLAG) {
            set_value(command, o, shown, NULL);
            continue;
        }
        const char *text = p[1] ? p + 1 : next;
        *taken = !p[1];
        if (!text)
            *out_status = opt_usage_error(command, "option '%s' needs a value", shown);
        else
            *out_status = set_value(command, o, shown, text);
        return *out_status ? -1 : 0;
    }
    return 0;
}

int opt_parse(const struct opt_command *command, int argc, char **argv, int *out_first,
              int *out_status) {
    /* Arguments met on the way are kept in argv[first..i): an option that follows is moved in front
     * of them. */
    int first = 1;
    for (int i = 1; i < argc;) {
        char *const word = argv[i];
        if (word[0] != '-' || word[1] == '\0') {
            if (command->stop_at_argument)
                break;
            i++;
            continue;
        }
        int n_words = 1, end = 0, taken = 0;
        char *const next = i + 1 < argc ? argv[i + 1] : NULL;
        if (word[1] == '-' && word[2] == '\0')
            end = 1;
        else if (word[1] == '-') {
            if (parse_long(command, word, next, &taken, out_status) < 0)
                return 0;
        } else if (parse_letters(command, word, next, &taken, out_status) < 0)
            return 0;
        n_words += taken;
        memmove(argv + first + n_words, argv + first, sizeof *argv * (size_t)(i - first));
        argv[first] = word;
        if (taken)
            argv[first + 1] = next;
        first += n_words;
        i += n_words;
        if (end)
            break;
    }
    *out_first = first;
    return 1;
}
