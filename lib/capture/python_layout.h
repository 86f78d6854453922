/* Where CPython keeps what a stack of Python functions is told by: offsets in its structures, by
 * minor version, and the few functions of it that are called.
 *
 * 3.10 to 3.12 by tables; from 3.13 on the interpreter itself says where things are
 * (_Py_DebugOffsets, the first thing in _PyRuntime). Nothing here reads more than that. */
#ifndef HEAPSNAP_PYTHON_LAYOUT_H
#define HEAPSNAP_PYTHON_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

/* How the frames of Python functions hang together, and how each is found to belong to a call of
 * the interpreter's loop (a C function) that runs it. */
enum python_chain {
    PYTHON_LISTS,  /* 3.10: each call runs one frame; a list of calls beside a list of frames */
    PYTHON_CALLS,  /* 3.11: a list of calls, each with frames from its current one to its first */
    PYTHON_ENTRIES /* 3.12: one list of frames; a frame that stands on the C stack ends a call's */
};

struct python_layout {
    uint8_t minor;
    uint8_t chain;         /* enum python_chain */
    uint8_t code_tag;      /* low bits of the pointer to the code that are none of it */
    uint16_t thread_calls; /* in a thread's state: its innermost call, 0: there is no such list */
    uint16_t thread_root;  /* there, too: the end of that list, 0: nobody asks */
    uint16_t thread_frame; /* 3.10 and from 3.13 on: the innermost frame */
    uint16_t thread_id;    /* what pthread_self() is */
    uint16_t call_previous, call_frame;
    uint16_t frame_previous, frame_code, frame_instruction;
    uint16_t frame_mark; /* is_entry (3.11) or owner (from 3.12 on): a byte */
    uint16_t code_file, code_name, code_line, code_lines, code_instructions;
    uint16_t string_ascii, string_compact; /* sizes of the headers of strings */
    uint32_t runtime_finalizing;
    uint32_t runtime_interpreters; /* list of interpreters, then the main one: before 3.12 only */
};

struct python_runtime {
    struct python_layout layout;
    const char *runtime;    /* _PyRuntime */
    const void *code_type;  /* PyCode_Type */
    void *(*current)(void); /* the state of the thread that holds the lock; from 3.12 on: of this
                               thread, if it holds it */
    void *(*own)(void);     /* the state that this thread had first, or NULL */
};

/* Fills *out if this process has an interpreter that is known. Calls the loader. */
bool python_runtime_find(struct python_runtime *out) __attribute__((visibility("hidden")));

/* "3.11" of "3.11.2 (main, ...) ...": its length, and the minor version; 0 if it is no such. */
unsigned python_version_parse(const char *version, unsigned *out_minor)
    __attribute__((visibility("hidden")));

#endif
