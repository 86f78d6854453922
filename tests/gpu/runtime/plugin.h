/* What plugin.c shows. */
#ifndef HEAPSNAP_TEST_PLUGIN_H
#define HEAPSNAP_TEST_PLUGIN_H

/* Allocates n blocks and frees the first. 0, or an error. */
int plugin_run(void **out, int n);
int plugin_look(void);

#endif
