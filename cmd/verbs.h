/* The verbs of the main command. Each is one file, snap_<verb>.c, with one table of options; its
 * line here and in snap.c's table are all that it takes to add one. argv[0] is the verb. */
#ifndef HEAPSNAP_VERBS_H
#define HEAPSNAP_VERBS_H

int snap_run_main(int argc, char **argv);
int snap_take_main(int argc, char **argv);
int snap_show_main(int argc, char **argv);
int snap_paths_main(int argc, char **argv);
int snap_verify_main(int argc, char **argv);
int snap_convert_main(int argc, char **argv);
int snap_repair_main(int argc, char **argv);
int snap_redact_main(int argc, char **argv);

#endif
